"""A person drops a folder, pauses, closes the page, comes back, chooses it again: it goes on and ends in one job."""

from __future__ import annotations

import hashlib
import os
import random
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from viewer_fixtures import Opener

from cxrscreen import blobs, db, resumable
from cxrscreen.tables import Job, Upload

pytestmark = pytest.mark.browser

SLOW = 100_000  # bytes a second: the large file takes longer than a busy machine to press a button
SCROLLS = "document.documentElement.scrollWidth > window.innerWidth"


@pytest.fixture
def night(tmp_path: Path) -> dict[str, bytes]:
    """A folder with a large file, a small one below and an empty one; name and bytes of each."""
    made = {
        "night/archive.zip": random.Random(1).randbytes(4_000_000),
        "night/ward 3/chest.png": random.Random(2).randbytes(30_000),
        "night/ward 3/empty.png": b"",
    }
    for name, content in made.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return made


def keep(page: Page, name: str) -> None:
    """Keep the page in both themes where CXRSCREEN_TEST_SCREENSHOTS names a folder."""
    if folder := os.environ.get("CXRSCREEN_TEST_SCREENSHOTS"):
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.screenshot(path=str(Path(folder) / f"upload-{name}-{theme}.png"))


def slow_down(page: Page, speed: int) -> None:
    line = page.context.new_cdp_session(page)
    told = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": speed}
    line.send("Network.emulateNetworkConditions", told)


def offsets_kept() -> dict[str, int]:
    """How many bytes of each file the server has."""
    people = [int(folder.name) for folder in resumable.root().glob("*") if folder.name.isdigit()]
    return {upload.name: upload.offset for person in people for upload in resumable.unfinished(person)}


def test_a_folder_goes_on_after_the_page_was_closed(opened: Opener, night: dict[str, bytes], tmp_path: Path) -> None:
    # The server may still hold the line that the pause cut; the page asks again, and the browser notes the refusal.
    with opened("/uploads", expecting="423") as page:
        slow_down(page, SLOW)
        page.set_input_files("#folder", str(tmp_path / "night"))
        expect(page.locator("#chosen")).to_contain_text("3 files")
        page.click("#send")
        expect(page.locator("#lines li")).to_have_count(3)
        expect(page.locator("#lines li.sent")).to_have_count(2)
        expect(page.locator("#sent-text")).to_contain_text("/s")
        keep(page, "sending")
        while not offsets_kept().get("night/archive.zip"):
            page.wait_for_timeout(50)
        page.click("#pause")
        expect(page.locator("#lines li.paused")).to_have_count(1)
        expect(page.locator("#send")).to_have_text("Resume")
        keep(page, "paused")
        page.reload()
        expect(page.locator("#unfinished-list li")).to_have_count(1)
        expect(page.locator("#unfinished-list")).to_contain_text("and 2 more")
        keep(page, "unfinished")
        page.set_viewport_size({"width": 390, "height": 844})
        assert not page.evaluate(SCROLLS)
        before = offsets_kept()
        assert 0 < before["night/archive.zip"] < 4_000_000

        slow_down(page, -1)
        sent: list[int] = []
        page.on("request", lambda asked: sent.append(int(asked.headers.get("upload-offset", -1))))
        page.set_input_files("#folder", str(tmp_path / "night"))
        expect(page.locator("#chosen")).to_contain_text("are here already")
        page.click("#send")
        page.wait_for_url(re.compile(r"/jobs/\d+$"))
        offsets = [offset for offset in sent if offset >= 0]
        assert offsets and min(offsets) >= before["night/archive.zip"] > 0, "nothing was sent twice"
    with db.read() as session:
        job = session.query(Job).one()
        rows = {row.id: row for row in session.query(Upload)}
    labels = {source["label"]: rows[source["upload"]].sha256 for source in job.sources}
    assert labels == {name: hashlib.sha256(content).hexdigest() for name, content in night.items()}
    assert blobs.store().get("uploads", labels["night/archive.zip"]) == night["night/archive.zip"]


def test_who_sends_before_the_server_said_what_it_has_is_heard(
    opened: Opener, night: dict[str, bytes], tmp_path: Path
) -> None:
    held: list[Route] = []
    with opened("/uploads") as page:
        page.route("**/uploads/unfinished", lambda route: held.append(route))
        with page.expect_request("**/uploads/unfinished"):
            page.set_input_files("#files", str(tmp_path / "night" / "ward 3" / "chest.png"))
        page.click("#send")
        expect(page.locator("#upload-error")).to_be_hidden()
        held[0].continue_()
        page.wait_for_url(re.compile(r"/jobs/\d+$"))


def test_a_cancelled_upload_leaves_nothing(opened: Opener, night: dict[str, bytes], tmp_path: Path) -> None:
    with opened("/uploads", expecting="423") as page:
        slow_down(page, SLOW)
        page.set_input_files("#files", str(tmp_path / "night" / "archive.zip"))
        page.click("#send")
        expect(page.locator("#sent-text")).to_contain_text("/s")
        page.on("dialog", lambda asked: asked.accept())
        page.click("#cancel")
        expect(page.locator("#upload-error")).to_have_text("Cancelled. Nothing was kept.")
        expect(page.locator("#unfinished")).to_be_hidden()
    assert not list(resumable.root().rglob("part"))
    with db.read() as session:
        assert session.query(Job).count() == 0
