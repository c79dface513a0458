"""Compressed pixels with a hole between intact markers: a refusal, not a score over grey blocks."""

from __future__ import annotations

import os
import struct
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames

from cxrscreen.imaging import Reason, Rejected, codestream, complaints, jpegs, prepare, read
from cxrscreen.imaging.phantoms import phantom

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KINDS: dict[str, dict[str, object]] = {
    "grey": {},
    "progressive": {"progressive": True},
    "colour": {"mode": "RGB"},
    "four-colour": {"mode": "CMYK"},
    "with restarts": {"restart_marker_blocks": 8},
}


@cache
def _drawn(side: int) -> Image.Image:
    return Image.fromarray(phantom("covid", 1, side))


def _jpeg(mode: str = "L", side: int = 1024, **options: object) -> bytes:
    buffer = BytesIO()
    _drawn(side).convert(mode).save(buffer, "JPEG", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _with_hole(data: bytes, start: int, length: int) -> bytes:
    at = start + length // 3  # of a progressive file that is in the coarse scans; a finer one hardly shows
    return data[:at] + b"\x5a" * 40 + data[at + 40 :]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hole_in_a_jpeg_is_noticed(kind: str) -> None:
    data = _jpeg(**KINDS[kind])  # type: ignore[arg-type]
    assert next(iter(prepare(data)))
    with pytest.raises(Rejected) as refused:
        list(prepare(_with_hole(data, 0, len(data))))
    assert refused.value.reason == Reason.DAMAGED


@pytest.mark.parametrize("options", [{}, {"mode": "RGB"}, {"mode": "RGB", "subsampling": 0}, {"progressive": True}])
@pytest.mark.parametrize("side", [1500, 1031])
def test_the_samples_are_those_that_pillow_gives(options: dict[str, object], side: int) -> None:
    data = _jpeg(side=side, **options)  # type: ignore[arg-type]
    for least in (None, 512):
        image = Image.open(BytesIO(data))
        if least:
            image.draft(None, (least, least))
        assert np.array_equal(read(data, max_side=least)[0].stored, np.asarray(image.convert("L")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawn = np.full((96, 160), 128, np.uint8)
    drawn[:40, :60] = 255
    buffer = BytesIO()
    Image.fromarray(drawn).save(buffer, "JPEG", exif=exif, quality=95)
    shown = read(buffer.getvalue())[0].display()
    assert shown.shape == ((96, 160) if orientation < 5 else (160, 96))
    bright = [shown[:20, :20], shown[:20, -20:], shown[-20:, -20:], shown[-20:, :20]]
    corner = {1: 0, 2: 1, 3: 2, 4: 3, 5: 0, 6: 1, 7: 2, 8: 3}[orientation]
    assert [bool(part.mean() > 200) for part in bright] == [index == corner for index in range(4)]


def test_a_png_whose_pixels_end_too_early_is_noticed_under_right_checksums() -> None:
    """Pillow looks for EXIF behind the pixels, fails, and gives the rest of the picture in black."""
    buffer = BytesIO()
    _drawn(256).save(buffer, "PNG")
    data = buffer.getvalue()
    at = data.index(b"IDAT") - 4
    lines = zlib.compress(np.pad(phantom("covid", 1, 256), ((0, 0), (1, 0))).tobytes())

    def with_pixels(packed: bytes) -> bytes:
        body = b"IDAT" + packed
        return data[:at] + struct.pack(">I", len(packed)) + body + struct.pack(">I", zlib.crc32(body)) + data[-12:]

    assert next(iter(prepare(with_pixels(lines)))).refused is None
    for packed in (lines[: len(lines) // 2], lines[:-4] + bytes(4), lines[:999] + b"\xff" * 9 + lines[1008:]):
        with pytest.raises(Rejected) as refused:
            list(prepare(with_pixels(packed)))
        assert refused.value.reason == Reason.DAMAGED


def test_bytes_behind_the_end_of_a_frame_are_not_its_damage() -> None:
    whole = _jpeg(side=256)
    codestream.check(whole + b"\x8a\x28\xa2\x8a", 256, 256)
    for cut in (whole[:-4] + b"\x8a\x28", whole + b"\x8a" * 99):
        with pytest.raises(Rejected):
            codestream.check(cut, 256, 256)


def test_the_boxes_before_a_codestream_may_be_long() -> None:
    buffer = BytesIO()
    _drawn(256).save(buffer, "JPEG2000")
    boxed = buffer.getvalue()
    assert boxed.startswith(b"\0\0\0\x0cjP  ")
    codestream.check(boxed[:12] + struct.pack(">I4s", 1008, b"free") + bytes(1000) + boxed[12:], 256, 256)


def test_a_missing_tile_of_a_jpeg_2000_is_noticed() -> None:
    buffer = BytesIO()
    _drawn(256).save(buffer, "JPEG2000", tile_size=(128, 128))
    whole = buffer.getvalue()
    assert next(iter(prepare(whole))).refused is None
    first = whole.index(b"\xff\x90\0\x0a\0\0")
    second = whole.index(b"\xff\x90\0\x0a\0\1")
    with pytest.raises(Rejected) as refused:
        list(prepare(whole[:first] + whole[second:]))
    assert refused.value.reason == Reason.DAMAGED and "iles" in refused.value.detail


def test_a_header_that_is_merely_odd_costs_no_picture() -> None:
    data = bytearray(_jpeg())
    data[data.index(b"JFIF\0") + 5] = 9  # a major revision that nobody has written yet
    assert len(list(prepare(bytes(data)))) == 1
    assert jpegs.decode(bytes(data), "L", (512, 512)) is None
    with pytest.raises(Rejected):
        list(prepare(_with_hole(bytes(data), 0, len(data))))


@pytest.mark.parametrize("kind", KINDS)
def test_junk_between_the_segments_of_a_header_costs_no_picture(kind: str) -> None:
    data = _jpeg(**KINDS[kind])  # type: ignore[arg-type]
    at = data.index(b"\xff\xdb")
    odd = data[:at] + b"8BIM\0\4junk" + data[at:]
    (one,), (same,) = prepare(odd), prepare(data)
    assert one.derivative == same.derivative
    with pytest.raises(Rejected) as refused:
        list(prepare(_with_hole(odd, 0, len(odd))))
    assert refused.value.reason == Reason.DAMAGED


@pytest.mark.parametrize("name", ["JPEG-LL.dcm", "bad_sequence.dcm", "Fake_MONOHR1.dcm"])
def test_a_hole_in_the_pixels_of_a_dicom_file_is_noticed(name: str, test_data: Path) -> None:
    data = (test_data / "dicom" / name).read_bytes()
    assert len(read(data)) == 1
    (frame,) = generate_frames(pydicom.dcmread(BytesIO(data)).PixelData, number_of_frames=1)
    with pytest.raises(Rejected) as refused:
        read(_with_hole(data, data.index(frame[:64]), len(frame)))
    assert refused.value.reason == Reason.DAMAGED


def test_only_damage_is_kept_from_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with complaints.heeded():
        os.write(2, b"something else\n")
    assert capfd.readouterr().err == "something else\n"
    with pytest.raises(Rejected, match="premature end"), complaints.heeded():
        os.write(2, b"before\nCorrupt JPEG data: premature end of data segment\n")
    assert capfd.readouterr().err == "before\n"
    with pytest.raises(ValueError), complaints.heeded():
        raise ValueError
