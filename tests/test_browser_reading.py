"""The reading room: images in place, a study beside, the next case, and what is said where something is missing."""

from __future__ import annotations

import numpy as np
import pytest
import seed
from dashboard_fixtures import Site, stored_image
from playwright.sync_api import expect
from viewer_fixtures import SHOWN, Opener, drawn, files, greys, middle, samples, study_of

from cxrscreen import blobs, db, imaging, studies
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.tables import Result, Study

pytestmark = pytest.mark.browser


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
        for word in ("confirmed", "dismissed", "unsure"):
            expect(page.locator(f"#verdict-{word}")).to_be_in_viewport(ratio=1)
        page.keyboard.press("c")
        page.keyboard.type("both lungs")
        page.keyboard.press("Escape")
        page.keyboard.press("]")
        page.wait_for_selector(f'{SHOWN}[data-image="{other_id}"]')
        expect(page.locator("#score")).to_have_text("0.200")
        page.wait_for_url(f"**image={other_id}")
        assert page.input_value("#comment") == "both lungs"
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
        expect(page.locator("#pane-prior .marks")).to_have_text("mirrored")
        assert page.locator("#pane-case .marks").inner_text() == ""
        page.locator("#close-beside").press("Enter")
        expect(page.locator("#pane-prior")).to_have_count(0)
        page.goto(f"/studies/{study_id}?beside={stranger_id}")
        page.wait_for_selector(SHOWN)
        assert page.locator(".pane").count() == 1, "another patient's study never stands beside"


def test_the_next_case_is_there_before_it_is_asked_for(site: Site, opened: Opener) -> None:
    data = files()
    first = study_of(data["monochrome2.dcm"], "a.dcm", site)
    second = study_of(data["monochrome1.dcm"], "b.dcm", site, score=0.8)
    with db.read() as session:
        ahead = studies.images(session, second, None)[0][0].id
    with opened("/account") as page:
        with page.expect_request_finished(lambda asked: asked.url.endswith(f"/{ahead}/pixels")):
            page.goto(f"/studies/{first}")
        page.wait_for_selector(SHOWN)
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
        drawn(page)
        before = picture.evaluate("(image) => image.style.transform")
        for key in "z3i":
            page.keyboard.press(key)
        expect(page.locator("#tool-invert")).to_have_attribute("aria-pressed", "true")
        drawn(page)
        assert picture.evaluate("(image) => image.style.transform") != before
        assert "contrast" in picture.evaluate("(image) => image.style.filter")


def test_an_original_that_cannot_be_shown_is_said_on_the_stage(site: Site, opened: Opener) -> None:
    data = files()["monochrome2.dcm"]
    study = study_of(data, "a.dcm", site)
    with db.write() as session:
        image = studies.images(session, study, None)[0][0]
        image.sha256 = blobs.store().put("originals", data[: len(data) // 2])
    with opened(f"/studies/{study}", expecting="404") as page:
        page.wait_for_selector('#pane-case[data-state="failed"]')
        expect(page.locator(".pane-said")).to_contain_text("The original cannot be shown")
    blobs.store().delete("originals", image.sha256)
    with opened(f"/studies/{study}") as page:
        page.wait_for_selector(SHOWN)
        expect(page.locator("#original-missing")).to_be_visible()
        assert page.locator("#pane-case img.flat").get_attribute("src").endswith("/thumb.jpg")  # type: ignore[union-attr]


def test_without_a_worker_a_map_that_is_not_stored_is_said_not_to_come(site: Site, opened: Opener) -> None:
    study = study_of(files()["eight.jpg"], "a.jpg", site)
    with opened(f"/studies/{study}", expecting="503") as page:
        page.wait_for_selector(SHOWN)
        page.keyboard.press("o")
        expect(page.locator("#pane-case .making")).to_have_text(
            "No screening worker answers, so the heat map cannot be made now."
        )
        expect(page.locator("#tool-heat")).to_have_attribute("aria-pressed", "false")
        expect(page.locator("#heat")).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_pans_with_a_finger_and_scrolls_past(site: Site, opened: Opener, theme: str) -> None:
    study = study_of(files()["eight.jpg"], "a.jpg", site)
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": theme}
    with opened(f"/studies/{study}", **phone) as page:
        page.wait_for_selector(SHOWN)
        drawn(page)
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
