"""The viewer's endpoint: the samples as they are stored, the table screening saw, and nothing that names anybody."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pydicom
import pytest
from dashboard_fixtures import Site, ramp, stored_image
from PIL import Image as Pillow
from viewer_fixtures import with_tags

from cxrscreen import blobs, db, imaging
from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes
from dashboard.windows import linear, windows_of

JSON = {"Accept": "application/json"}


def slope(height: int = 61, width: int = 93, top: int = 4095) -> np.ndarray:
    """Samples of 12 bits, none of them in an even place, bone white."""
    rows, columns = np.mgrid[0:height, 0:width]
    return ((rows * 37 + columns * 43) % (top + 1)).astype(np.uint16)


def files() -> dict[str, bytes]:
    wide = slope()
    small = (slope(top=255)).astype(np.uint8)
    plain = dicom_bytes(wide, 1, 1, inverted=False)
    signed = with_tags(
        plain,
        PixelRepresentation=1,
        BitsStored=16,
        HighBit=15,
        PixelData=(wide.astype(np.int32) - 2000).astype("<i2").tobytes(),
        WindowCenter="10",
        WindowWidth="1500",
    )
    return {
        "monochrome2.dcm": with_tags(plain, WindowCenter="1800", WindowWidth="2200"),
        "monochrome1.dcm": with_tags(dicom_bytes(wide, 2, 1, inverted=True), WindowCenter="2300", WindowWidth="2000"),
        "signed.dcm": signed,
        "sixteen.png": picture_bytes((wide * 15).astype(np.uint16), "PNG"),
        "eight.jpg": picture_bytes(small, "JPEG"),
    }


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", files())
def test_the_samples_and_the_table_are_those_of_the_reader_of_pixels(site: Site, name: str, packed: bool) -> None:
    data = files()[name]
    with db.write() as session:
        image_id = stored_image(session, data, name=name).id
    asking = {"Accept-Encoding": "gzip"} if packed else {}
    answer = site.browser("reader").get(f"/images/{image_id}/pixels", headers=asking)
    assert answer.status_code == 200 and "Accept-Encoding" in answer.headers["Vary"]
    assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
    body = gzip.decompress(answer.data) if packed else answer.data
    told = json.loads(answer.headers["X-Pixels"])
    frame = imaging.read(data)[0]
    assert (told["height"], told["width"]) == frame.stored.shape
    assert (told["bits"], told["signed"]) == (8 * frame.stored.itemsize, frame.stored.dtype.kind == "i")
    assert told["inverted"] == (name == "monochrome1.dcm")
    codes = 2 ** told["bits"]
    kind = np.dtype(f"<{'i' if told['signed'] else 'u'}{told['bits'] // 8}")
    assert np.array_equal(np.frombuffer(body, kind, offset=codes).reshape(frame.stored.shape), frame.stored)
    assert np.array_equal(np.frombuffer(body, np.uint8, codes), frame.tones)
    assert told["exact"], "a linear window says all of these tables"


@pytest.mark.parametrize(
    ("name", "window"),
    [("monochrome2.dcm", (1800, 2200)), ("monochrome1.dcm", (2300, 2000)), ("signed.dcm", (10, 1500))],
)
def test_the_window_is_found_again_in_the_table(name: str, window: tuple[int, int]) -> None:
    found = windows_of(imaging.read(files()[name])[0])
    assert found.window == pytest.approx(window, abs=2)
    shown = linear(np.arange(found.low, found.high + 1, dtype=float), *window)
    assert np.abs(linear(np.arange(found.low, found.high + 1, dtype=float), *found.window) - shown).max() <= 1


def test_presets_are_shares_of_the_pixels_from_dark_to_bright() -> None:
    white = windows_of(imaging.read(dicom_bytes(slope(), 1, 1, inverted=False))[0])
    black = windows_of(imaging.read(dicom_bytes(slope(), 1, 1, inverted=True))[0])
    assert white.presets[0] == ((white.low + white.high + 1) / 2, white.high - white.low + 1)
    for (centre, width), (mirrored, same) in zip(white.presets, black.presets, strict=True):
        assert centre == pytest.approx(4096 - mirrored, abs=4) and width == pytest.approx(same, abs=4)
    lungs, heart = white.presets[1], white.presets[2]
    assert lungs[0] < heart[0], "lungs are the dark part"


@pytest.mark.parametrize("value", [0, 77, 4095])
def test_a_picture_of_one_tone_has_windows_too(value: int) -> None:
    found = windows_of(imaging.read(dicom_bytes(np.full((9, 9), value, np.uint16), 1, 1, inverted=False))[0])
    assert all(width >= 1 for _, width in [found.window, *found.presets])


def test_a_table_that_is_no_window_says_so() -> None:
    data = with_tags(dicom_bytes(slope(), 1, 1, inverted=False), VOILUTFunction="SIGMOID")
    found = windows_of(imaging.read(data)[0])
    assert not found.exact and found.window[1] > 1


def test_nothing_of_the_patient_is_told(site: Site) -> None:
    data = files()["monochrome2.dcm"]
    dataset = pydicom.dcmread(io.BytesIO(data))
    with db.write() as session:
        image_id = stored_image(session, data, name="a.dcm").id
    answer = site.browser("reader").get(f"/images/{image_id}/pixels")
    whole = answer.data + repr(list(answer.headers)).encode()
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID", "SOPInstanceUID"):
        assert str(dataset[keyword].value).encode() not in whole
    assert set(json.loads(answer.headers["X-Pixels"])) == {
        *("width", "height", "bits", "signed", "inverted", "window", "exact", "low", "high", "presets")
    }


def test_a_browser_asks_again_and_is_told_that_nothing_changed(site: Site) -> None:
    with db.write() as session:
        image_id = stored_image(session, ramp()).id
    browser = site.browser("reader")
    first = browser.get(f"/images/{image_id}/pixels", headers={"Accept-Encoding": "gzip"})
    assert first.headers["Cache-Control"] == "private, no-cache"
    kept = {"If-None-Match": first.headers["ETag"], "Accept-Encoding": "gzip"}
    again = browser.get(f"/images/{image_id}/pixels", headers=kept)
    assert (again.status_code, again.data) == (304, b"")
    plain = browser.get(f"/images/{image_id}/pixels", headers={"If-None-Match": first.headers["ETag"]})
    assert plain.status_code == 200, "the packed answer is not the plain one"
    assert site.browser().get(f"/images/{image_id}/pixels", headers={**kept, **JSON}).status_code == 401


def test_who_is_not_signed_in_sees_nothing(site: Site) -> None:
    with db.write() as session:
        image_id = stored_image(session, ramp()).id
    assert site.browser().get(f"/images/{image_id}/pixels").status_code == 302
    answer = site.browser().get(f"/images/{image_id}/pixels", headers=JSON)
    assert (answer.status_code, answer.json) == (401, {"error": "Your session ended; sign in again."})


def test_a_missing_and_a_damaged_original_are_clear_answers(site: Site) -> None:
    held = io.BytesIO()
    Pillow.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(held, "PNG")
    whole = held.getvalue()
    with db.write() as session:
        missing = stored_image(session, ramp())
        blobs.store().delete("originals", missing.sha256)
        cut = stored_image(session, whole)
        cut.sha256 = blobs.store().put("originals", whole[:-40])
        frame = stored_image(session, ramp(91))
        frame.frame = 3
        ids = missing.id, cut.id, frame.id
    browser = site.browser("reader")
    said = [browser.get(f"/images/{image_id}/pixels", headers=JSON) for image_id in (*ids, 999)]
    assert [answer.status_code for answer in said] == [404] * 4
    errors = [answer.json["error"] for answer in said]
    assert errors[0] == errors[2] == "The original file is missing, or is no longer the one that was screened."
    assert errors[1].startswith("The original cannot be shown: ") and "cut short" in errors[1]
    assert errors[3] == "There is no image 999."
