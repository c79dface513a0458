"""The pictures of the documents, and every page to be looked at: taken where a folder is named, else left out.

`make screenshots` takes the first, `make pages` the second. What they show are phantoms.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from dashboard_fixtures import Site
from gallery_fixtures import site
from PIL import Image as Picture
from playwright.sync_api import Page, expect
from test_browser_access import name_of, pages_of
from viewer_fixtures import SHOWN, Opener

from cxrscreen import db, studies
from cxrscreen.tables import StudyResult

__all__ = ["site"]  # in place of the site of other tests

pytestmark = pytest.mark.browser

DESK, PHONE, WALL = ({"width": w, "height": h} for w, h in ((1366, 768), (390, 844), (3840, 2160)))
# Many pages at once have pictures on their way; the ones of a test's server take a while.
PATIENCE_MS = 60_000


def where_named(variable: str) -> pytest.MarkDecorator:
    """A mark, so that without a folder nobody trains a model and lives two weeks for nothing."""
    return pytest.mark.skipif(not os.environ.get(variable), reason=f"{variable} names no folder to put pictures into")


def folder_of(variable: str) -> Path:
    folder = Path(os.environ[variable])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def flagged(site: Site) -> int:
    """The unread study with the highest score of those that were screened here: it has a picture and a heat map."""
    with db.read() as session:
        rows = session.query(StudyResult).filter_by(model_version_id=site.model_id, verdict=None)
        for row in rows.order_by(StudyResult.score.desc()):
            said = studies.images(session, row.study_id, site.model_id)[0][1]
            if said and said.heat:
                return row.study_id
    raise AssertionError("no study has a heat map")


def kept_small(path: Path) -> None:
    """256 colours are enough for a page, and a third of the bytes where it shows a radiograph."""
    with Picture.open(path) as picture:
        few = picture.convert("RGB").quantize(256, dither=Picture.Dither.NONE)
    few.save(path, optimize=True)
    assert path.stat().st_size < 250_000, f"{path} is too large for a page of a document"


def looks(page: Page, path: Path, theme: str) -> None:
    page.emulate_media(color_scheme="light" if theme == "light" else "dark")
    page.screenshot(path=str(path))


def shown(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_load_state("networkidle")
    if page.locator("#panes").count():
        page.wait_for_selector(SHOWN)


@where_named("CXRSCREEN_TEST_SCREENSHOTS")
def test_the_pictures_of_the_documents(site: Site, opened: Opener) -> None:
    folder = folder_of("CXRSCREEN_TEST_SCREENSHOTS")
    with opened("/worklist", expecting="the server responded with a status") as page:
        page.set_default_timeout(PATIENCE_MS)
        shown(page, "/worklist")
        looks(page, folder / "worklist.png", "light")
        shown(page, f"/studies/{flagged(site)}")
        page.keyboard.press("o")
        expect(page.locator("#heat")).to_be_visible()
        page.wait_for_load_state("networkidle")
        looks(page, folder / "study.png", "dark")
        shown(page, "/whatif")
        page.locator("#slide").fill("0.35")
        looks(page, folder / "whatif.png", "light")
        shown(page, "/charts")
        looks(page, folder / "charts.png", "dark")
    for path in folder.glob("*.png"):
        kept_small(path)


@where_named("CXRSCREEN_TEST_PAGES")
def test_every_page_is_there_to_be_looked_at(site: Site, opened: Opener) -> None:
    folder = folder_of("CXRSCREEN_TEST_PAGES")
    urls = [re.sub("^/models/1", f"/models/{site.model_id}", url) for url in pages_of(site)]
    case = f"/studies/{flagged(site)}"
    urls += [case, "/models/3/compare", "/jobs/2", "/studies/1?beside=2"]
    for locale in ("en", "ru"):
        with opened("/worklist", locale=locale, expecting="the server responded with a status") as page:
            page.set_default_timeout(PATIENCE_MS)
            for size, kind, some in (
                (DESK, "desk", urls),
                (PHONE, "phone", ["/worklist", case]),
                (WALL, "wall", [case]),
            ):
                page.set_viewport_size(size)
                for url in some:
                    shown(page, url)
                    for theme in ("light", "dark"):
                        looks(page, folder / f"{name_of(url)}-{kind}-{locale}-{theme}.png", theme)
            page.context.clear_cookies()
            page.set_viewport_size(DESK)
            for url in ("/sign-in", "/enter/x"):
                shown(page, url)
                for theme in ("light", "dark"):
                    looks(page, folder / f"{name_of(url)}-desk-{locale}-{theme}.png", theme)
