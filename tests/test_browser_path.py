"""A real browser walks the main path: sign in, upload, progress, flagged list, verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from dashboard_fixtures import Site
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select, update
from stack_fixtures import PATIENCE_SECONDS
from viewer_fixtures import PATIENCE_MS

from cxrscreen import db, local, users
from cxrscreen.tables import Entry, Job, Result, Review, Role, Verdict
from dashboard.images import WAIT_SECONDS

pytestmark = [pytest.mark.stack, pytest.mark.browser]

PASSWORD = "night after night"


@pytest.fixture
def page(chromium: Browser, stack: local.Stack) -> Iterator[Page]:
    """A page in front of a whole stack; any console error or request that leaves the machine fails the test."""
    with db.write() as session:
        users.add(session, "reader", Role.READER, PASSWORD)
    troubles: list[str] = []
    with chromium.new_context(viewport={"width": 1366, "height": 768}, base_url=stack.address) as context:
        page = context.new_page()
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda asked: troubles.append(asked.url) if _leaves(asked.url, stack.address) else None)
        page.set_default_timeout(PATIENCE_MS)
        yield page
    # A browser logs the refused password of the first test as an error of its own.
    assert [said for said in troubles if "401 (UNAUTHORIZED)" not in said] == []


def _leaves(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def test_from_sign_in_to_verdict(page: Page, phantom_archive: Path) -> None:
    page.goto("/")
    page.fill("#name", "reader")
    page.fill("#password", "not the password")
    page.click("#sign-in")
    expect(page.locator("#sign-in-failed")).to_be_visible()
    page.fill("#name", "reader")
    page.fill("#password", PASSWORD)
    with page.expect_navigation(url=lambda url: "/sign-in" not in url):
        page.click("#sign-in")

    page.goto("/uploads")
    page.set_input_files("#files", str(phantom_archive))
    page.click("#send")
    page.wait_for_url(re.compile(r"/jobs/\d+$"))
    expect(page.locator("#job-state")).to_have_text("done", timeout=PATIENCE_SECONDS * 1000)
    found, scored, rejected = (int(page.inner_text(f"#count-{name}")) for name in ("found", "scored", "rejected"))
    assert found == scored + rejected > 0
    with db.read() as session:
        job = session.scalars(select(Job)).one()
        assert len(session.scalars(select(Entry).where(Entry.job_id == job.id)).all()) == found
        assert len(session.scalars(select(Result)).all()) == scored

    with page.expect_navigation():
        page.click("#job-worklist")
    rows = page.locator("#worklist tbody tr")
    assert rows.count() > 1
    scores = [float(text) for text in page.locator("#worklist .figure").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    page.goto("/worklist")
    study = int(rows.first.get_attribute("data-study") or 0)
    rows.first.locator("a.case").click()

    expect(page.locator("#flag")).to_have_text("flagged")
    expect(page.locator("#pane-case")).to_have_attribute("data-state", "shown")
    expect(page.locator("#heat")).to_be_hidden()
    page.keyboard.press("o")
    expect(page.locator("#heat")).to_be_visible()
    page.keyboard.press("c")
    page.keyboard.type("both bases <script>alert(1)</script>")
    page.keyboard.press("Escape")
    page.keyboard.press("y")
    page.wait_for_url(re.compile(rf"/studies/(?!{study}\b)\d+"))
    with db.read() as session:
        review = session.scalars(select(Review)).one()
        assert (review.study_id, review.verdict) == (study, Verdict.CONFIRMED)

    page.goto("/worklist?state=confirmed")
    assert rows.count() == 1
    page.goto(f"/studies/{study}")
    expect(page.locator("#reviews .comment")).to_have_text("both bases <script>alert(1)</script>")

    # As of an answer from features: no map is stored, and a worker makes it when the page asks.
    with db.write() as session:
        session.execute(update(Result).values(heat=None))
    page.goto(f"/studies/{study}")
    expect(page.locator("#pane-case")).to_have_attribute("data-state", "shown")
    page.keyboard.press("o")
    expect(page.locator("#heat")).to_be_visible(timeout=max(PATIENCE_MS, WAIT_SECONDS * 1000))
    expect(page.locator("#pane-case .making")).to_be_empty()
    with db.read() as session:
        assert session.scalars(select(Result.heat).where(Result.heat.is_not(None))).one()

    page.goto("/models")
    expect(page.locator("body")).to_contain_text("PHANTOM")


def test_a_page_works_on_a_phone_and_in_the_dark(
    full: Site, opened: Callable[..., AbstractContextManager[Page]]
) -> None:
    """Pages with something on them, and no stack behind them: none is wider than the window."""
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    with opened("/worklist", expecting="the server responded with a status", **phone) as page:  # cases without pictures
        for path in ("/worklist", "/worklist?state=all", "/jobs", "/uploads", "/models", "/schedules", "/system"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
