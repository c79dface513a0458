"""Pictures as people see them: the pixels the classifier's reader gives, kept by nobody without asking again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import seed
from dashboard_fixtures import Browser, Site, ramp, stored_image
from PIL import Image as Pillow

from cxrscreen import blobs, db, imaging, queue
from cxrscreen.tables import Result, Worker
from dashboard import heat


def pixels(browser: Browser, url: str) -> np.ndarray:
    answer = browser.get(url)
    assert answer.status_code == 200, answer.text[:500]
    return np.asarray(Pillow.open(io.BytesIO(answer.data)))


def test_the_picture_is_what_the_reader_of_pixels_gives(site: Site) -> None:
    data = ramp()
    with db.write() as session:
        image_id = stored_image(session, data).id
    browser = site.browser("operator")
    shown = imaging.read(data, "ramp.png")[0].display()
    assert np.array_equal(pixels(browser, f"/images/{image_id}/picture.png"), shown)
    near = pixels(browser, f"/images/{image_id}/picture.jpg")
    assert near.shape == shown.shape and np.abs(near.astype(int) - shown).mean() < 2
    assert pixels(browser, f"/images/{image_id}/thumb.jpg").shape == shown.shape


def test_real_dicom_is_shown_bone_white_whichever_way_it_is_stored(site: Site, test_data: Path) -> None:
    browser = site.browser("operator")
    shown = 0
    for path in sorted((test_data / "dicom").iterdir()):
        data = path.read_bytes()
        try:
            frames = imaging.read(data, path.name)
        except imaging.Rejected:
            continue
        with db.write() as session:
            image_id = stored_image(session, data, name=path.name).id
        assert np.array_equal(pixels(browser, f"/images/{image_id}/picture.png"), frames[0].display()), path.name
        shown += 1
    assert shown >= 5


def test_a_browser_asks_again_and_is_told_that_nothing_changed(site: Site) -> None:
    with db.write() as session:
        image_id = stored_image(session, ramp()).id
    browser = site.browser("operator")
    for kind in ("picture.png", "picture.jpg", "thumb.jpg"):
        first = browser.get(f"/images/{image_id}/{kind}")
        assert first.headers["Cache-Control"] == "private, no-cache"
        again = browser.get(f"/images/{image_id}/{kind}", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
    kept = {"If-None-Match": browser.get(f"/images/{image_id}/picture.png").headers["ETag"]}
    assert site.browser().get(f"/images/{image_id}/picture.png", headers=kept).status_code == 302


def test_a_file_of_a_folder_is_shown_while_it_is_the_one_that_was_screened(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "allowed" / "ramp.png"
    with db.write() as session:
        image_id = stored_image(session, ramp(), path=path).id
    browser = site.browser("operator")
    assert browser.get(f"/images/{image_id}/picture.png").status_code == 200
    path.write_bytes(ramp(91))
    answer = browser.get(f"/images/{image_id}/picture.png", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert answer.json == {"error": "The original file is missing, or is no longer the one that was screened."}
    path.unlink()
    assert browser.get(f"/images/{image_id}/picture.png").status_code == 404


def test_what_the_store_lost_is_a_clear_answer(site: Site) -> None:
    with db.write() as session:
        image = stored_image(session, ramp())
        image_id = image.id
        blobs.store().delete("originals", image.sha256)
        blobs.store().delete("derivatives", image.derivative)
    browser = site.browser("operator")
    for kind in ("picture.png", "thumb.jpg"):
        answer = browser.get(f"/images/{image_id}/{kind}")
        assert answer.status_code == 404
        assert 'id="error"' in answer.text


def test_the_heat_map_has_the_proportions_of_its_image_and_shows_where(site: Site) -> None:
    cells = np.zeros((4, 6), dtype=np.uint8)
    cells[3, 0] = 255  # the lower left corner
    with db.write() as session:
        image = stored_image(session, ramp(300, 100))
        stored = bytes(cells.shape) + cells.tobytes()
        session.add(Result(image_id=image.id, model_version_id=site.model_id, **{**seed.result(0.9), "heat": stored}))
        image_id = image.id
    browser = site.browser("operator")
    drawn = pixels(browser, f"/images/{image_id}/heat.png?model={site.model_id}")
    height, width, channels = drawn.shape
    assert channels == 4 and abs(width / height - 3) < 0.02
    alpha = drawn[..., 3]
    assert alpha[-1, 0] == alpha.max() > 200
    assert alpha[: height // 3].max() == 0 and alpha[:, width // 2 :].max() == 0
    assert np.array_equal(pixels(browser, f"/images/{image_id}/heat.png"), drawn), (
        "without a number: the active version"
    )


def test_no_heat_map_is_no_error_of_ours(site: Site) -> None:
    with db.write() as session:
        image = stored_image(session, ramp())
        session.add(Result(image_id=image.id, model_version_id=site.model_id, **seed.result(0.9)))
        image_id = image.id
    browser = site.browser("operator")
    for query in ("", "?model=999"):
        assert browser.get(f"/images/{image_id}/heat.png{query}").status_code == 404


def test_a_map_of_an_answer_from_features_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int]] = []
    monkeypatch.setattr(queue, "submit", lambda task, number, **_: sent.append((task, number)) is None)
    with db.write() as session:
        image = stored_image(session, ramp())
        result = Result(image_id=image.id, model_version_id=site.model_id, **seed.result(0.9))
        session.add(result)
        session.flush()
        number, ask, state = result.id, f"/images/{image.id}/heat", f"/images/{image.id}/heat.json"
    browser = site.browser("reader")
    assert browser.get(state).json == {"state": "waiting"}
    refused = browser.post(ask)
    assert refused.status_code == 503 and not sent
    assert refused.json == {"error": "No screening worker answers, so the heat map cannot be made now."}
    with db.write() as session:
        session.add(Worker(name="screen@ward", role="screen", pid=4))
    assert browser.post(ask).status_code == 202 and sent == [(queue.HEAT, number)]
    for made, told in ((b"", "none"), (bytes((1, 1, 200)), "made")):
        with db.write() as session:
            session.get_one(Result, number).heat = made
        assert browser.get(state).json == {"state": told}
        assert browser.post(ask).status_code == 202 and len(sent) == 1, "nothing is made twice"
    assert browser.get(f"{state}?model=999").json == {"state": "none"}


@pytest.mark.parametrize("stored", [b"", b"\x02\x02\x00", b"\x00\x00", b"\x01\x01", b"\x02\x01\x00\x00\x00"])
def test_bytes_that_are_no_map_are_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="not a heat map"):
        heat.overlay(stored, 10, 10)


def test_colours_rise_evenly_in_lightness() -> None:
    scaled = heat.COLOURS / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness = np.cbrt(luminance)
    assert np.all(np.diff(lightness[::8]) > 0)
    steps = np.diff(lightness[::16])
    assert steps.max() < 2.5 * steps.min()
