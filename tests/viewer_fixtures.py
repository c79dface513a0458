"""A dashboard behind a real server, a browser on it, pictures with known samples, and what a canvas shows."""

from __future__ import annotations

import base64
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
import seed
from dashboard_fixtures import PASSWORD, Site, stored_image
from numpy.typing import NDArray
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright
from werkzeug.serving import make_server

from cxrscreen import db, studies
from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes
from cxrscreen.tables import Result
from dashboard.security import POLICY

Greys = NDArray[np.uint8]
Opener = Callable[..., AbstractContextManager[Page]]
# Playwright's wait_for_function is an eval, which the policy forbids: waits are for attributes.
SHOWN = '#pane-case[data-state="shown"]'
# On a machine that has more to do than cores everything comes late: what fails only fails later for it.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, site.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One for a file, as it takes a second of a processor to start: each test has a context of its own in it.

    Not one for all files: Playwright's event loop would go on beneath the tests of other rooms.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on the PATH: install Debian's packages chromium and chromium-driver to try this")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser, address: str) -> Opener:
    """Open signed-in pages; a console error, a request off the machine or a changed policy fails the test."""

    @contextmanager
    def open_page(path: str, *, script: str = "", expecting: str = "", **options: object) -> Iterator[Page]:
        troubles: list[str] = []
        sizes = {"viewport": {"width": 1366, "height": 768}, "base_url": address, **options}
        with chromium.new_context(**sizes) as context:  # type: ignore[arg-type]
            if script:
                context.add_init_script(script)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("request", lambda asked: troubles.append(asked.url) if not asked.url.startswith(address) else None)
            answer = sign_in(page, "reader", path)
            assert answer.headers["content-security-policy"] == POLICY
            yield page
        assert [said for said in troubles if not expecting or expecting not in said] == []

    return open_page


def sign_in(page: Page, name: str, path: str = "") -> Response:
    """To the page of that path, or to the one that asked for it; its answer, once it is there.

    Who asks for another page before that may still be a stranger.
    """
    if path:
        page.goto(f"/sign-in?next={quote(path, safe='')}")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    with page.expect_navigation(url=lambda url: "/sign-in" not in url) as got:
        page.click("#sign-in")
    assert got.value is not None
    return got.value


def samples(top: int, height: int = 210, width: int = 301) -> NDArray[np.uint16]:
    """Bone white samples, smooth with a mark in one corner, so that no turn of the picture is like another."""
    rows, columns = np.mgrid[0:height, 0:width]
    values = (rows / height * 0.55 + columns / width * 0.45) * top
    values[8:40, 12:70] = top * 0.9
    return np.rint(values).astype(np.uint16)


def with_tags(data: bytes, **tags: object) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    held = io.BytesIO()
    dataset.save_as(held)
    return held.getvalue()


def files() -> dict[str, bytes]:
    wide = samples(4095)
    one, two = (dicom_bytes(wide, number, 1, inverted=number == 1) for number in (1, 2))
    return {
        "monochrome1.dcm": with_tags(one, WindowCenter="2200", WindowWidth="2500"),
        "monochrome2.dcm": with_tags(two, WindowCenter="1800", WindowWidth="2200"),
        "sigmoid.dcm": with_tags(two, WindowCenter="1800", WindowWidth="2200", VOILUTFunction="SIGMOID"),
        "eight.jpg": picture_bytes(samples(255).astype(np.uint8), "JPEG"),
        "sixteen.png": picture_bytes((wide * 15).astype(np.uint16), "PNG"),
    }


def study_of(data: bytes, name: str, site: Site, heat: bytes | None = None, score: float = 0.9) -> int:
    with db.write() as session:
        image = stored_image(session, data, name=name)
        session.add(Result(image_id=image.id, model_version_id=site.model_id, **{**seed.result(score), "heat": heat}))
        session.flush()
        studies.refresh(session, [image.study_id], site.model_id)
        return image.study_id


def drawn(page: Page) -> None:
    """Return once the change that was asked for is drawn, and said: the viewer draws in the next frame."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def greys(page: Page, selector: str = "#picture") -> Greys:
    """What the canvas shows, once the change that was asked for is drawn."""
    drawn(page)
    url = page.evaluate('(selector) => document.querySelector(selector).toDataURL("image/png")', selector)
    shown = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
    assert np.array_equal(shown[..., 0], shown[..., 1]) and np.array_equal(shown[..., 0], shown[..., 2])
    return shown[..., 0]


def middle(canvas: Greys, shape: tuple[int, ...], expected: Greys) -> int:
    """The largest difference from the picture in the middle of the canvas, which may lie half a pixel aside."""
    height, width = shape
    top, left = (canvas.shape[0] - height) // 2, (canvas.shape[1] - width) // 2
    differences = []
    for down in (top, top + 1):
        for across in (left, left + 1):
            part = canvas[down : down + height, across : across + width].astype(int)
            rest = canvas.astype(int).sum() - part.sum()
            if part.shape == expected.shape and rest == 0:
                differences.append(int(np.abs(part - expected).max()))
    assert differences, "the picture is not in the middle, or something stands beside it"
    return min(differences)


def pointed(page: Page) -> tuple[int, int, int]:
    """Column, row and stored value under the pointer, as the page says them."""
    said = page.locator("#pane-case .value")
    expect(said).not_to_be_empty()
    column, row, value = (int(word) for word in said.inner_text().replace(",", "").replace(":", "").split())
    return column, row, value
