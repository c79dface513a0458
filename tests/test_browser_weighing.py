"""A browser weighs thresholds with the slider, signs for one, and looks at the charts; in both themes."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
import seed
from dashboard_fixtures import Site
from playwright.sync_api import Page, expect
from sqlalchemy import update
from viewer_fixtures import Opener

from cxrscreen import db, registry, studies, users
from cxrscreen.tables import Result, Role, Study, StudyResult, Verdict, now

pytestmark = pytest.mark.browser


@pytest.fixture
def archive(site: Site) -> None:
    """Three hundred studies over twelve nights; readers read most of what is flagged, and a little of the rest."""
    chance = random.Random(11)
    with db.write() as session:
        users.get(session, "reader").role = Role.ADMIN
        reader = users.get(session, "operator")
        for number, image in enumerate(seed.images(session, 300)):
            ill = chance.random() < 0.2
            score = min(1.0, max(0.0, chance.betavariate(5, 2) if ill else chance.betavariate(1.2, 6)))
            kind = "covid-" + str(1 + number % 2) if score >= 0.5 else ("normal-1", "pneumonia-1")[number % 2]
            said = {**seed.result(score), "subclass": kind, "label": kind.partition("-")[0]}
            session.add(Result(image_id=image.id, model_version_id=site.model_id, **said))
            session.flush()
            studies.refresh(session, [image.study_id], site.model_id)
            if chance.random() < (0.9 if score >= 0.5 else 0.15):
                verdict = Verdict.UNSURE if chance.random() < 0.05 else Verdict.CONFIRMED if ill else Verdict.DISMISSED
                study = session.get_one(Study, image.study_id)
                studies.review(session, study, reader, verdict, "", site.model_id, None)
            at = now() - timedelta(days=number % 12, minutes=number)
            session.execute(update(StudyResult).where(StudyResult.study_id == image.study_id).values(updated_at=at))


def test_a_threshold_is_weighed_and_signed_for(site: Site, opened: Opener, archive: None) -> None:
    with opened("/whatif", expecting="404 (NOT FOUND)") as page:
        flagged = page.locator("#then-flagged")
        before = flagged.inner_text()
        page.locator("#slide").fill("0.35")
        expect(page.locator("#then-threshold")).to_have_text("0.35")
        moved = {name: page.locator(f"#then-{name}").inner_text() for name in ("flagged", "sensitivity", "per-night")}
        assert int(moved["flagged"]) > int(before)
        with page.expect_navigation():  # the script has written the same into the page that is left
            page.click("#ask button")
        expect(page.locator("#threshold")).to_have_value("0.35")
        for name, said in moved.items():
            assert page.locator(f"#then-{name}").inner_text() == said, f"script and server differ on {name}"
        page.locator("#slide").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#sign-threshold")).to_have_text("0.351")
        page.on("dialog", lambda dialog: dialog.accept())
        page.fill("#sign-off", "Looked at the curve and at eleven misses.")
        page.click("#set-threshold")
        expect(page.locator(".flash.good")).to_contain_text("0.351 now")
        expect(page.locator("#points tbody tr").first).to_contain_text("eleven misses")
        with db.read() as session:
            assert registry.threshold(session, site.model_id) == 0.351
        phone(page, "whatif")


def test_the_charts_are_looked_at(site: Site, opened: Opener, archive: None) -> None:
    with opened("/charts", expecting="404 (NOT FOUND)") as page:
        for name in ("nights", "scores", "verdicts", "roc", "reliability", "subclasses"):
            expect(page.locator(f"#{name}")).to_be_visible()
        expect(page.locator("#roc")).to_contain_text("Area")
        page.set_viewport_size({"width": 1366, "height": 1700})
        page.emulate_media(color_scheme="dark", media="print")
        page.emulate_media(color_scheme="light", media="screen")
        page.locator("#roc summary").click()
        expect(page.locator("#roc tbody tr")).to_have_count(10)
        phone(page, "charts")


def phone(page: Page, name: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
