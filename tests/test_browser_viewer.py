"""The viewer in a real browser: the very greys of the pixel reader, true windows, turns, heat map."""

from __future__ import annotations

import numpy as np
import pytest
from dashboard_fixtures import Site
from playwright.sync_api import expect
from viewer_fixtures import SHOWN, Opener, files, greys, middle, pointed, study_of

from cxrscreen import imaging
from dashboard.windows import linear

pytestmark = pytest.mark.browser


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
        page.keyboard.press("r")
        expect(page.locator("#pane-case .marks")).to_have_text("mirrored · turned 90°")
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
        greys(page)
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
