"""The viewer in a real browser: the very greys of the pixel reader, true windows, turns, heat map, two studies."""

from __future__ import annotations

import base64
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import seed
from dashboard_fixtures import PASSWORD, Site, stored_image
from numpy.typing import NDArray
from PIL import Image as Pillow
from playwright.sync_api import Page, expect, sync_playwright
from test_browser_path import ARGUMENTS
from test_dashboard_pixels import with_tags
from werkzeug.serving import make_server

from cxrscreen import blobs, db, imaging, studies
from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes
from cxrscreen.tables import Result, Study
from dashboard.security import POLICY
from dashboard.windows import linear

pytestmark = pytest.mark.browser

Greys = NDArray[np.uint8]
Opener = Callable[..., AbstractContextManager[Page]]
# Playwright's wait_for_function is an eval, which the policy forbids: waits are for attributes.
SHOWN = '#pane-case[data-state="shown"]'


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, site.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def opened(address: str) -> Iterator[Opener]:
    """Open signed-in pages; a console error, a request off the machine or a changed policy fails the test."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on the PATH: install Debian's packages chromium and chromium-driver to try this")
    troubles: list[str] = []

    @contextmanager
    def open_page(path: str, *, script: str = "", expecting: str = "", **options: object) -> Iterator[Page]:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
            context = browser.new_context(
                **{"viewport": {"width": 1366, "height": 768}, "base_url": address, **options}  # type: ignore[arg-type]
            )
            if script:
                context.add_init_script(script)
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("request", lambda asked: troubles.append(asked.url) if not asked.url.startswith(address) else None)
            page.goto("/sign-in")
            page.fill("#name", "reader")
            page.fill("#password", PASSWORD)
            page.click("#sign-in")
            answer = page.goto(path)
            assert answer is not None and answer.headers["content-security-policy"] == POLICY
            yield page
            browser.close()
        assert [said for said in troubles if not expecting or expecting not in said] == []
        troubles.clear()

    yield open_page


def samples(top: int, height: int = 210, width: int = 301) -> NDArray[np.uint16]:
    """Bone white samples, smooth with a mark in one corner, so that no turn of the picture is like another."""
    rows, columns = np.mgrid[0:height, 0:width]
    values = (rows / height * 0.55 + columns / width * 0.45) * top
    values[8:40, 12:70] = top * 0.9
    return np.rint(values).astype(np.uint16)


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


def greys(page: Page, selector: str = "#picture") -> Greys:
    """What the canvas shows, once the change that was asked for is drawn."""
    url = page.evaluate(
        """(selector) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
             done(document.querySelector(selector).toDataURL("image/png")))))""",
        selector,
    )
    drawn = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
    assert np.array_equal(drawn[..., 0], drawn[..., 1]) and np.array_equal(drawn[..., 0], drawn[..., 2])
    return drawn[..., 0]


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
    said = page.locator("#pane-case .value").inner_text()
    column, row, value = (int(word) for word in said.replace(",", "").replace(":", "").split())
    return column, row, value


@pytest.mark.parametrize("name", files())
def test_the_canvas_shows_what_screening_saw_and_then_true_windows(site: Site, opened: Opener, name: str) -> None:
    data = files()[name]
    frame = imaging.read(data)[0]
    shown = frame.display()
    with opened(f"/studies/{study_of(data, name, site)}") as page:
        page.wait_for_selector(SHOWN)
        page.keyboard.press("p")
        assert middle(greys(page), shown.shape, shown) <= 1
        expect(page.locator(".readout .tone")).to_contain_text("as screened")
        assert page.locator(".readout .tone").inner_text().count("≈") == (name == "sigmoid.dcm")
        for key in "2345":
            page.keyboard.press(key)
            drawn = greys(page)
            pane = page.locator("#pane-case")
            centre, width = (float(pane.get_attribute(f"data-{word}") or "") for word in ("centre", "width"))
            window = linear(frame.stored.astype(float), centre, width)
            window = 255 - window if name == "monochrome1.dcm" else window
            assert middle(drawn, shown.shape, window) <= 1, (key, centre, width)
        page.locator("#stage, .stage").first.focus()
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
        darker = greys(page)
        assert darker.mean() < drawn.mean()
        centre, width = (float(pane.get_attribute(f"data-{word}") or "") for word in ("centre", "width"))
        window = linear(frame.stored.astype(float), centre, width)
        assert middle(darker, shown.shape, 255 - window if name == "monochrome1.dcm" else window) <= 1
        page.keyboard.press("1")
        page.keyboard.press("i")
        assert middle(greys(page), shown.shape, 255 - shown) <= 1
        expect(page.locator("#tool-invert")).to_have_attribute("aria-pressed", "true")


def test_flips_and_turns_are_those_of_the_screen(site: Site, opened: Opener) -> None:
    data = files()["monochrome2.dcm"]
    shown = imaging.read(data)[0].display()
    with opened(f"/studies/{study_of(data, 'a.dcm', site)}") as page:
        page.wait_for_selector(SHOWN)
        page.keyboard.press("p")
        expected = shown
        for key in "hrvrlhhrrvl":
            expected = {
                "h": np.fliplr,
                "v": np.flipud,
                "r": lambda picture: np.rot90(picture, -1),
                "l": np.rot90,
            }[key](expected)
            page.keyboard.press(key)
            assert middle(greys(page), expected.shape, expected) <= 1, key
        page.keyboard.press(" ")
        page.keyboard.press("p")
        assert middle(greys(page), shown.shape, shown) <= 1
        page.keyboard.press("h")
        expect(page.locator("#pane-case .marks")).to_have_text("mirrored")
        expect(page.locator("#tool-across")).to_have_attribute("aria-pressed", "true")


def test_drags_wheel_and_value_under_the_pointer(site: Site, opened: Opener) -> None:
    data = files()["monochrome2.dcm"]
    frame = imaging.read(data)[0]
    with opened(f"/studies/{study_of(data, 'a.dcm', site)}") as page:
        page.wait_for_selector(SHOWN)
        page.keyboard.press("p")
        box = page.locator(".stage").bounding_box()
        assert box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x + 20.5, y + 10.5)
        column, row, value = pointed(page)
        assert abs(column - (frame.facts.width // 2 + 20)) <= 1 and abs(row - (frame.facts.height // 2 + 10)) <= 1
        assert value == frame.stored[row, column]
        page.mouse.wheel(0, -400)
        expect(page.locator(".readout .tone")).to_contain_text(f"{np.exp(0.8) * 100:.0f} %")
        now = pointed(page)
        assert abs(now[0] - column) <= 1 and abs(now[1] - row) <= 1, "the point under the pointer stays"
        page.mouse.down(button="right")
        page.mouse.move(x + 60.5, y + 40.5, steps=3)
        page.mouse.up(button="right")
        greys(page)
        now = pointed(page)
        assert abs(now[0] - column) <= 1 and abs(now[1] - row) <= 1, "and moves with it"
        assert now[2] == frame.stored[now[1], now[0]]
        page.mouse.down()
        page.mouse.move(x + 160.5, y + 40.5, steps=3)
        page.mouse.up()
        expect(page.locator("#preset")).to_have_value("")
        assert float(page.get_attribute("#pane-case", "data-width") or 0) == pytest.approx(2200 + 550, abs=5)
        page.keyboard.press(" ")
        expect(page.locator("#preset")).to_have_value("1")
        page.mouse.dblclick(x, y)
        expect(page.locator("#tool-pixels")).to_have_attribute("aria-pressed", "true")
        assert page.evaluate("scrollX + scrollY") == 0


def test_the_heat_map_is_off_at_first_and_follows_the_picture(site: Site, opened: Opener) -> None:
    cells = np.zeros((4, 4), np.uint8)
    cells[3, 0] = 255  # the lower left corner
    study = study_of(files()["monochrome2.dcm"], "a.dcm", site, heat=bytes((4, 4)) + cells.tobytes())
    with opened(f"/studies/{study}") as page:
        page.wait_for_selector(SHOWN)
        heat = page.locator("#heat")
        expect(heat).to_be_hidden()
        assert heat.get_attribute("src") is None, "nor fetched"
        page.keyboard.press("o")
        expect(heat).to_be_visible()
        expect(page.locator("#tool-heat")).to_have_attribute("aria-pressed", "true")
        for keys in ("p", "h", "r", "z", "v"):
            page.keyboard.press(keys)
            greys(page)
        # R after H turns the picture clockwise; its corners are where the transform says.
        corner = page.evaluate(
            """() => { const heat = document.getElementById("heat");
                 const at = new DOMMatrix(getComputedStyle(heat).transform)
                   .transformPoint({ x: 0, y: parseFloat(heat.style.height) });
                 const stage = heat.parentElement;
                 return [at.x - stage.clientWidth / 2, at.y - stage.clientHeight / 2]; }"""
        )
        # Lower left; H: lower right; R: lower left; V: upper left.
        assert corner[0] < 0 and corner[1] < 0
        page.locator("#opacity").fill("30")
        greys(page)
        assert heat.evaluate("(heat) => heat.style.opacity") == "0.3"


def test_images_change_in_place_and_a_study_beside_moves_along(site: Site, opened: Opener) -> None:
    wide = samples(4095)
    with db.write() as session:
        case = stored_image(session, dicom_bytes(wide, 1, 1, inverted=False), name="case.dcm")
        other = stored_image(session, dicom_bytes(wide[::-1], 2, 1, inverted=True), name="other.dcm")
        session.delete(session.get_one(Study, other.study_id))
        other.study_id = case.study_id
        prior = stored_image(session, dicom_bytes(wide[:, ::-1], 3, 1, inverted=False), name="prior.dcm")
        stranger = stored_image(session, dicom_bytes(wide // 2, 4, 1, inverted=False), name="stranger.dcm")
        for image in (case, other, prior, stranger):
            said = seed.result(0.9 if image is case else 0.2)
            session.add(Result(image_id=image.id, model_version_id=site.model_id, **said))
        session.flush()
        for study_id in (case.study_id, prior.study_id):
            session.get_one(Study, study_id).patient = "0123456789abcdef"
        session.get_one(Study, prior.study_id).study_date = "20190203"
        ids = case.study_id, case.id, other.id, prior.id, stranger.study_id
    study_id, case_id, other_id, prior_id, stranger_id = ids
    with opened(f"/studies/{study_id}") as page:
        page.wait_for_selector(SHOWN)
        page.keyboard.press("c")
        page.keyboard.type("both lungs")
        page.keyboard.press("Escape")
        page.keyboard.press("]")
        page.wait_for_selector(f'{SHOWN}[data-image="{other_id}"]')
        expect(page.locator("#score")).to_have_text("0.200")
        assert page.url.endswith(f"image={other_id}") and page.input_value("#comment") == "both lungs"
        page.keyboard.press("p")
        assert (
            middle(greys(page), wide.shape, imaging.read(dicom_bytes(wide[::-1], 2, 1, inverted=True))[0].display())
            <= 1
        )
        page.keyboard.press("[")
        page.wait_for_selector(f'{SHOWN}[data-image="{case_id}"]')

        expect(page.locator("#others a")).to_have_text(["2019-02-03"])
        page.locator("#others a").press("Enter")
        page.wait_for_selector(f'#pane-prior[data-state="shown"][data-image="{prior_id}"]')
        assert page.input_value("#comment") == "both lungs"
        expect(page.locator("#pane-prior .identity")).to_contain_text("0123456789abcdef")
        expect(page.locator("#pane-case .identity")).to_contain_text("0123456789abcdef")
        page.keyboard.press(" ")
        page.locator("#pane-case .stage").focus()
        page.keyboard.press("z")
        page.keyboard.press("ArrowRight")
        greys(page)
        assert len({pane.locator(".tone").inner_text() for pane in page.locator(".pane").all()}) == 1
        mine, theirs = greys(page).astype(int), greys(page, "#pane-prior canvas").astype(int)
        assert np.abs(mine - theirs).max() > 20, "two pictures"
        page.locator("#pane-prior .stage").focus()
        page.keyboard.press("h")
        assert page.locator("#pane-case .marks").inner_text() == ""
        expect(page.locator("#pane-prior .marks")).to_have_text("mirrored")
        page.locator("#close-beside").press("Enter")
        expect(page.locator("#pane-prior")).to_have_count(0)
        page.goto(f"/studies/{study_id}?beside={stranger_id}")
        page.wait_for_selector(SHOWN)
        assert page.locator(".pane").count() == 1, "another patient's study never stands beside"


def test_the_next_case_is_there_before_it_is_asked_for(site: Site, opened: Opener) -> None:
    data = files()
    first = study_of(data["monochrome2.dcm"], "a.dcm", site)
    second = study_of(data["monochrome1.dcm"], "b.dcm", site, score=0.8)
    with opened(f"/studies/{first}") as page:
        with page.expect_request_finished(lambda asked: asked.url.endswith("/pixels")):
            page.wait_for_selector(SHOWN)
        page.wait_for_load_state("networkidle")
        with page.expect_response("**/pixels") as got:
            page.keyboard.press("j")
            page.wait_for_url(f"**/studies/{second}*")
        page.wait_for_selector(SHOWN)
        sizes = got.value.request.sizes()
        assert got.value.status == 304 or sizes["responseBodySize"] == 0


def test_without_webgl_the_picture_is_an_image_with_the_same_hands(site: Site, opened: Opener) -> None:
    study = study_of(files()["monochrome2.dcm"], "a.dcm", site)
    without = """const before = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
          return kind === "webgl2" ? null : before.call(this, kind, ...rest); };"""
    with opened(f"/studies/{study}", script=without) as page:
        page.wait_for_selector(SHOWN)
        picture = page.locator("#pane-case img.flat")
        expect(picture).to_be_visible()
        assert picture.evaluate("(image) => image.naturalWidth") == 301
        before = picture.evaluate("(image) => image.style.transform")
        for key in "z3i":
            page.keyboard.press(key)
        expect(page.locator("#tool-invert")).to_have_attribute("aria-pressed", "true")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert picture.evaluate("(image) => image.style.transform") != before
        assert "contrast" in picture.evaluate("(image) => image.style.filter")


def test_an_original_that_cannot_be_shown_is_said_on_the_stage(site: Site, opened: Opener) -> None:
    data = files()["monochrome2.dcm"]
    study = study_of(data, "a.dcm", site)
    with db.write() as session:
        image = studies.images(session, study, None)[0][0]
        original, image.sha256 = image.sha256, blobs.store().put("originals", data[: len(data) // 2])
    with opened(f"/studies/{study}", expecting="404") as page:
        page.wait_for_selector('#pane-case[data-state="failed"]')
        expect(page.locator(".pane-said")).to_contain_text("The original cannot be shown")
    blobs.store().delete("originals", image.sha256)
    with opened(f"/studies/{study}") as page:
        page.wait_for_selector(SHOWN)
        expect(page.locator("#original-missing")).to_be_visible()
        assert page.locator("#pane-case img.flat").get_attribute("src").endswith("/thumb.jpg")  # type: ignore[union-attr]
    assert original


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_pans_with_a_finger_and_scrolls_past(site: Site, opened: Opener, theme: str, tmp_path: Path) -> None:
    study = study_of(files()["eight.jpg"], "a.jpg", site)
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": theme}
    with opened(f"/studies/{study}", **phone) as page:
        page.wait_for_selector(SHOWN)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        stage = page.locator(".stage")
        assert stage.evaluate("(stage) => getComputedStyle(stage).touchAction") == "pan-y"
        page.locator("#tool-in").click()
        greys(page)
        assert stage.evaluate("(stage) => getComputedStyle(stage).touchAction") == "none"
        before = greys(page)
        touch = page.context.new_cdp_session(page)
        box = stage.bounding_box()
        assert box
        x, y = box["x"] + 150, box["y"] + 150
        for kind, points in (
            ("touchStart", [{"x": x, "y": y}]),
            ("touchMove", [{"x": x + 30, "y": y}]),
            ("touchStart", [{"x": x + 30, "y": y, "id": 0}, {"x": x + 80, "y": y, "id": 1}]),
            ("touchMove", [{"x": x, "y": y, "id": 0}, {"x": x + 120, "y": y, "id": 1}]),
            ("touchEnd", []),
        ):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert not np.array_equal(before, greys(page))
        zoom = int(page.locator(".tone").inner_text().split("·")[-1].strip(" %"))
        assert zoom > 200
