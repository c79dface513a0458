"""What is begun on a case and not sent is not lost, and what is sent is sent once, in a real browser."""

from __future__ import annotations

import re

import pytest
from dashboard_fixtures import Site, scored
from playwright.sync_api import expect
from viewer_fixtures import SHOWN, Opener, files, sign_in, study_of

from cxrscreen import db, studies, users
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job, Review, Role, Verdict

pytestmark = pytest.mark.browser

MISSING = "the server responded with a status"  # studies without pictures, and pages that refuse


def test_a_comment_outlives_the_session_it_was_written_in(site: Site, opened: Opener) -> None:
    study = study_of(files()["eight.jpg"], "a.jpg", site)
    with opened(f"/studies/{study}?state=all", expecting=MISSING) as page:
        page.wait_for_selector(SHOWN)
        expect(page.locator("#begun")).to_be_hidden()
        page.keyboard.press("g")
        page.fill("#comment", "left base,\nnew since spring")
        with db.write() as session:
            users.end_sessions(users.get(session, "reader"))
        page.click("#verdict-confirmed")
        expect(page.locator(".flash.bad")).to_contain_text("this was not saved")
        sign_in(page, "reader")
        assert page.url.endswith(f"/studies/{study}?state=all")
        expect(page.locator("#comment")).to_have_value("left base,\nnew since spring")
        expect(page.locator("#findings input:checked")).to_have_count(1)
        expect(page.locator("#begun")).to_be_visible()
        page.click("#verdict-confirmed")
        page.wait_for_url(re.compile("/worklist"))
        page.goto(f"/studies/{study}")
        expect(page.locator("#reviews .comment")).to_have_text("left base,\nnew since spring")
        expect(page.locator("#comment")).to_have_value("")
        page.keyboard.press("Control+z")
        expect(page.locator("#comment")).to_have_value("left base,\nnew since spring")
        expect(page.locator("#begun")).to_be_hidden()


def test_what_is_begun_stays_with_its_case_and_its_person(site: Site, opened: Opener) -> None:
    with db.write() as session:
        first, second = (scored(session, name, [0.9], site.model_id).id for name in ("one", "two"))
    with opened(f"/studies/{first}", expecting=MISSING) as page:
        page.fill("#comment", "begun here")
        page.goto(f"/studies/{second}")
        expect(page.locator("#comment")).to_have_value("")
        page.goto(f"/studies/{first}")
        expect(page.locator("#comment")).to_have_value("begun here")
        # Without signing out: the session is over, and a colleague sits down.
        page.context.clear_cookies()
        sign_in(page, "admin", f"/studies/{first}")
        expect(page.locator("#comment")).to_have_value("")
        page.fill("#comment", "another begins")
        page.click("#sign-out")
        expect(page.locator("#sign-in")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_somebody_was_first_and_the_comment_is_still_there(site: Site, opened: Opener) -> None:
    with db.write() as session:
        study = scored(session, "one", [0.9], site.model_id).id
    with opened(f"/studies/{study}", expecting=MISSING) as page:
        page.fill("#comment", "mine")
        with db.write() as session:
            row, admin = studies.get(session, study), users.get(session, "admin")
            studies.review(session, row, admin, Verdict.DISMISSED, "theirs", site.model_id, None)
        page.click("#verdict-confirmed")
        expect(page.locator("#error")).to_contain_text("Somebody else gave a verdict")
        page.click("#back")
        expect(page.locator("#reviews")).to_contain_text("theirs")
        expect(page.locator("#comment")).to_have_value("mine")
        page.click("#verdict-confirmed")
        page.wait_for_url(re.compile("/worklist"))
    with db.read() as session:
        assert [row.comment for row in session.query(Review).order_by(Review.id)] == ["theirs", "mine"]


def test_two_clicks_queue_one_job(site: Site, opened: Opener) -> None:
    folder = get_settings().allowed_roots[0] / "night"
    folder.mkdir()
    with opened("/uploads") as page:
        page.fill("#path", str(folder))
        page.dblclick("#queue-folder")
        page.wait_for_url(re.compile("/jobs/"))
    with db.read() as session:
        assert session.query(Job).count() == 1


def test_what_opens_over_a_page_begins_at_its_head_and_closes_by_escape(site: Site, opened: Opener) -> None:
    study = study_of(files()["eight.jpg"], "a.jpg", site)
    with opened(f"/studies/{study}") as page:
        page.wait_for_selector(SHOWN)
        page.keyboard.press("?")
        expect(page.locator("#help h2")).to_be_focused()
        expect(page.locator("#help h2")).to_be_in_viewport(ratio=1)
        expect(page.locator("#help button")).to_be_in_viewport(ratio=1)
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()
        page.goto("/worklist")
        for close in (lambda: page.keyboard.press("Escape"), lambda: page.locator("h1").click()):
            page.locator("#saved summary").click()
            expect(page.locator("#save-name")).to_be_visible()
            page.locator("#save-name").focus()
            close()
            expect(page.locator("#save-name")).to_be_hidden()


def test_on_a_phone_the_bar_shows_where_one_is_and_no_box_is_cut(site: Site, opened: Opener) -> None:
    with db.write() as session:
        scored(session, "one", [0.9], site.model_id)
        users.set_role(session, users.get(session, "reader"), Role.ADMIN, "a test")
    size = {"width": 390, "height": 768}
    with opened("/worklist", viewport=size, locale="ru-RU", expecting=MISSING) as page:
        box = page.locator("#sort")
        room = box.evaluate(
            """(box) => {
                const canvas = document.createElement("canvas").getContext("2d");
                canvas.font = getComputedStyle(box).font;
                const words = [...box.options].map((one) => canvas.measureText(one.text).width);
                return box.clientWidth - Math.max(...words);
            }"""
        )
        assert room > 30, "its arrow and its edges have room beside the longest of its words"
        page.goto("/audit")
        expect(page.locator("#nav-audit")).to_be_in_viewport(ratio=0.9)
