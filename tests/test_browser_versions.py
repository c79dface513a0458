"""A browser makes a schedule, compares a candidate, activates it with a signature and rolls back; in both themes."""

from __future__ import annotations

import re

import pytest
import seed
from dashboard_fixtures import Site, stored_image
from playwright.sync_api import expect
from viewer_fixtures import Opener

from cxrscreen import db, drift, nights, registry, schedules, studies, users
from cxrscreen.imaging import phantoms
from cxrscreen.imaging.phantom_files import picture_bytes
from cxrscreen.tables import ModelState, NightState, Result, Role, Schedule, Study, Verdict, now

pytestmark = pytest.mark.browser


@pytest.fixture
def candidate(site: Site) -> int:
    """Phantoms scored by two versions that differ on three of them, verdicts, nights and a drift that is an alert."""
    with db.write() as session:
        users.get(session, "reader").role = Role.ADMIN
        other = seed.model(session, "m2", state=ModelState.CANDIDATE, threshold=0.45).id
        reader = users.get(session, "operator")
        for number in range(18):
            kind = ("covid", "normal", "pneumonia")[number % 3]
            data = picture_bytes(phantoms.phantom(kind, seed=number, side=160), "png")
            image = stored_image(session, data, name=f"ward {'ab'[number % 2]}/{kind}-{number}.png")
            before = 0.9 - number * 0.045
            after = {2: 0.2, 12: 0.8, 13: 0.6}.get(number, before - 0.04)
            for version, score in ((site.model_id, before), (other, after)):
                said = {**seed.result(score), "subclass": f"{kind}-1", "distance": 1 + number / 20}
                session.add(Result(image_id=image.id, model_version_id=version, **said))
            session.flush()
            for version in (site.model_id, other):
                studies.refresh(session, [image.study_id], version)
            if number < 14:
                verdict = Verdict.CONFIRMED if kind == "covid" else Verdict.DISMISSED
                study = session.get_one(Study, image.study_id)
                studies.review(session, study, reader, verdict, "", site.model_id, None)
        for number, image in enumerate(seed.images(session, 80, "first")):
            session.add(Result(image_id=image.id, model_version_id=other, **seed.result(0.1 + number % 7 / 20)))
        row = Schedule(name="Old plan", cron="0 22 * * *", timezone="Europe/Berlin", enabled=False)
        session.add(row)
        session.flush()
        nights.write(session, row, now(), NightState.FAILED, "The weights of model 'm2' in the store are damaged.")
    drift.measure(other, None)
    with db.write() as session:
        for number, image in enumerate(seed.images(session, 90, "later")):
            session.add(Result(image_id=image.id, model_version_id=other, **seed.result(0.4 + number % 11 / 20)))
    drift.measure(other, None)
    return other


def test_from_a_schedule_to_a_roll_back(site: Site, opened: Opener, candidate: int) -> None:
    with opened("/schedules", expecting="400 (BAD REQUEST)") as page:
        page.click("#new-schedule")
        page.fill("#name", "Second look")
        page.fill("#cron", "0 22 30 2 *")
        page.fill("#timezone", "Europe/Berlin")
        page.select_option("#policy", "candidate")
        page.fill("#rate", "600")
        with page.expect_response(lambda answer: answer.request.method == "POST") as refused:
            page.click("#look")
        assert refused.value.status == 400
        expect(page.locator("#refused")).to_contain_text("never fires")
        page.fill("#cron", "0 22 * * *")
        page.click("#look")
        runs = page.locator("#runs li")
        expect(runs).to_have_count(3)
        expect(runs.first).to_contain_text(re.compile(r"22:00 CES?T until \w+ 06:00 CES?T"))
        page.click("#save-schedule")
        expect(page.locator("main")).to_contain_text("the newest candidate, in shadow")
        with db.read() as session:
            row = schedules.by_name(session, "Second look")
            assert (row.policy.value, row.rate, row.window_from) == ("candidate", 600, "22:00")

        page.goto("/models")
        page.locator("#models a", has_text="Compare").first.click()
        expect(page.locator("#agreement")).to_contain_text("Scored by both18")
        expect(page.locator("#newly .flips li")).to_have_count(3)
        expect(page.locator("#no-longer .flips li")).to_have_count(1)
        expect(page.locator("#reviewed")).to_contain_text("Wilson")
        for picture in page.locator(".flips img").all():
            picture.scroll_into_view_if_needed()  # they are fetched when they come into sight
            expect(picture).not_to_have_js_property("naturalWidth", 0)
        page.click("#activate")
        page.click("#activate-now")
        assert page.url.endswith("/activate"), "the browser asks for the words first"
        page.fill("#sign-off", "Read the four flips and 14 verdicts.")
        page.click("#activate-now")
        expect(page.locator(".flash.good")).to_contain_text("m2 is the active model now")
        with db.read() as session:
            assert registry.need_active(session).id == candidate

        page.goto(f"/models/{candidate}/drift")
        expect(page.locator("#band")).to_have_text("alert")
        page.emulate_media(color_scheme="dark", media="print")
        page.emulate_media(color_scheme="light", media="screen")
        page.goto("/worklist?state=all")
        page.locator("#worklist a.case").first.click()
        expect(page.locator("#answers")).to_contain_text("flagged")
        page.goto("/models")
        page.click("#roll-back")
        expect(page.locator(".flash.good")).to_contain_text("m1 is active again")
        with db.read() as session:
            assert registry.need_active(session).id == site.model_id
        page.goto("/system")
        page.get_by_role("button", name="I have seen it").click()
        expect(page.locator(".alert")).to_have_count(0)

        page.set_viewport_size({"width": 390, "height": 844})
        for path in ("/schedules", "/schedules/new", f"/models/{candidate}/compare", f"/models/{candidate}/drift"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
