"""Whole files through the seam: real radiographs, real DICOM of every kind, and files of our own making."""

from __future__ import annotations

import csv
import gc
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from cxrscreen.imaging import Reason, Rejected, decode, elements, frames, prepare, read
from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes
from cxrscreen.imaging.phantoms import phantom

# Imported here, the filters that keep the decoders' warnings from the terminal are undone by pytest.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CHEST = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
# What becomes of each file of the open set, by the reason; None passes the gate.
DICOM = {
    CHEST: None,
    "Fake_MONOHR1.dcm": None,
    "RG3_J2KR.dcm": Reason.NOT_CHEST,
    "693_J2KR.dcm": Reason.NOT_RADIOGRAPH,
    "bad_sequence.dcm": Reason.NOT_RADIOGRAPH,
    "MR2_J2KI.dcm": Reason.NOT_RADIOGRAPH,
    "emri_small_RLE.dcm": Reason.NOT_RADIOGRAPH,
    "JPEG-LL.dcm": Reason.NOT_RADIOGRAPH,
    "JLSL_08_07_0_1F.dcm": Reason.NOT_RADIOGRAPH,
    "JLSL_RGB_ILV0.dcm": Reason.NOT_RADIOGRAPH,
    "OBXXXX1A_rle.dcm": Reason.NOT_RADIOGRAPH,
    "US1_J2KI.dcm": Reason.NOT_RADIOGRAPH,
    "SC_rgb_expb.dcm": Reason.NOT_RADIOGRAPH,
    "vlut_04.dcm": Reason.NOT_RADIOGRAPH,
    "liver.dcm": Reason.NOT_RADIOGRAPH,
    "emri_small_jpeg_2k_lossless_too_short.dcm": Reason.DAMAGED,
    "MR_small_implicit.dcm": Reason.NOT_RADIOGRAPH,
    "image_dfl.dcm": Reason.NOT_RADIOGRAPH,
    "MR_truncated.dcm": Reason.DAMAGED,
    "test-SR.dcm": Reason.NO_IMAGE,
    "README.md": Reason.NO_IMAGE,
}
# Number of frames and the pixels' type of what `read` alone opens, whatever the gate thinks of it.
READABLE = {
    CHEST: (1, "uint8"),
    "RG3_J2KR.dcm": (1, "uint16"),
    "693_J2KR.dcm": (1, "int16"),
    "bad_sequence.dcm": (1, "uint16"),
    "MR2_J2KI.dcm": (1, "uint16"),
    "emri_small_RLE.dcm": (10, "uint16"),
    "JPEG-LL.dcm": (1, "int16"),
    "JLSL_08_07_0_1F.dcm": (1, "uint8"),
    "JLSL_RGB_ILV0.dcm": (1, "uint8"),
    "OBXXXX1A_rle.dcm": (1, "uint8"),
    "US1_J2KI.dcm": (1, "uint8"),
    "SC_rgb_expb.dcm": (1, "uint8"),
    "vlut_04.dcm": (1, "uint8"),
    "liver.dcm": (3, "uint8"),
    "MR_small_implicit.dcm": (1, "int16"),
    "image_dfl.dcm": (1, "uint8"),
}


def reason_of(data: bytes) -> Reason | None:
    """Why a file, or its first frame, is refused."""
    try:
        first, *_ = list(prepare(data, "x"))  # to the end: damage may show only in a later frame
    except Rejected as refused:
        return refused.reason
    return first.refused.reason if first.refused else None


@pytest.mark.parametrize("name", DICOM)
def test_each_dicom_file_passes_or_is_refused_for_its_reason(name: str, test_data: Path) -> None:
    assert reason_of((test_data / "dicom" / name).read_bytes()) == DICOM[name]


def test_the_terminal_stays_clean(test_data: Path) -> None:
    # A process of its own: pytest undoes the warning filters of what it imports.
    script = """
import sys
from pathlib import Path
from cxrscreen.imaging import Rejected, prepare, read
for path in sorted(Path(sys.argv[1]).iterdir()):
    for use in (prepare, read):
        try:
            print(path.name, len(list(use(path.read_bytes(), path.name))))
        except Rejected as refused:
            print(path.name, refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, test_data / "dicom"], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2 * len(DICOM)


def test_no_dicom_file_is_forgotten_here(test_data: Path) -> None:
    assert {path.name for path in (test_data / "dicom").iterdir()} == set(DICOM)


@pytest.mark.parametrize("name", READABLE)
def test_what_holds_pixels_can_be_seen_even_if_it_is_not_scored(name: str, test_data: Path) -> None:
    found = read((test_data / "dicom" / name).read_bytes(), name)
    count, kind = READABLE[name]
    assert [(frame.index, frame.count) for frame in found] == [(i, count) for i in range(count)]
    for frame in found:
        shown = frame.display()
        assert frame.stored.dtype == kind and shown.dtype == np.uint8
        assert shown.shape == frame.stored.shape == (frame.facts.height, frame.facts.width)
    assert len(np.unique(found[0].display())) > 1


def test_the_two_chest_files_are_each_others_negative(test_data: Path) -> None:
    (plain,) = read((test_data / "dicom" / CHEST).read_bytes())
    (inverted,) = read((test_data / "dicom" / "Fake_MONOHR1.dcm").read_bytes())
    assert np.array_equal(plain.stored, inverted.stored)
    assert np.array_equal(plain.display(), 255 - inverted.display())
    assert np.array_equal(plain.display(), plain.stored)
    assert (plain.facts.photometric, inverted.facts.photometric) == ("MONOCHROME2", "MONOCHROME1")
    assert (plain.facts.view, plain.facts.body_part, plain.facts.age_years) == ("PA", "CHEST", 62)


def test_no_real_radiograph_is_refused(test_data: Path) -> None:
    with (test_data / "cxr" / "index.csv").open() as index:
        names = [row["file"] for row in csv.DictReader(index)]
    refused, largest = [], 0
    for name in names:
        (found,) = prepare((test_data / "cxr" / name).read_bytes(), name)
        if found.derivative is None:
            refused.append((name, str(found.refused)))
        else:
            largest = max(largest, len(found.derivative))
    assert len(names) == 1075 and refused == []
    assert largest <= 64 * 1024


@pytest.mark.parametrize("inverted", [False, True])
def test_twelve_bit_dicom_shows_what_was_drawn(inverted: bool) -> None:
    drawn = phantom("covid", 3, 128, bits=12)
    (frame,) = read(dicom_bytes(drawn.astype(np.uint16), 1, 1, inverted=inverted))
    assert np.abs(frame.display().astype(int) - drawn / 4095 * 255).max() <= 1
    assert "PHANTOM" in (frame.facts.patient_id or "")
    hidden = str(frame.facts.public())
    for secret in (frame.facts.patient_id, frame.facts.accession, frame.facts.study_uid, frame.facts.study_date):
        assert secret and secret not in hidden


def test_a_file_without_preamble_or_meta_is_still_dicom() -> None:
    dataset = pydicom.dcmread(
        BytesIO(dicom_bytes(phantom("normal", 1, 96, 12).astype(np.uint16), 1, 1, inverted=False))
    )
    shown = read(_saved(dataset))[0].display()
    bare = pydicom.Dataset(dataset)
    buffer = BytesIO()
    bare.save_as(buffer, implicit_vr=True, little_endian=True)
    assert buffer.getvalue()[128:132] != b"DICM"
    assert np.array_equal(read(buffer.getvalue())[0].display(), shown)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation_turns_the_picture(orientation: int) -> None:
    drawn = Image.fromarray(phantom("normal", 1, 128)[:, :96])
    turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    turn = turns[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    drawn.save(buffer, "PNG", exif=exif)
    (frame,) = read(buffer.getvalue())
    expected = drawn if turn is None else drawn.transpose(turn)
    assert np.array_equal(frame.display(), np.asarray(expected))
    assert (frame.facts.width, frame.facts.height) == expected.size


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bit_pictures_are_stretched_between_percentiles(kind: str) -> None:
    drawn = (phantom("normal", 1, 128, bits=12) + 20_000).astype(np.uint16)
    (frame,) = read(picture_bytes(drawn, kind))
    assert frame.stored.dtype == np.uint16 and np.array_equal(frame.stored, drawn)
    low, high = np.percentile(drawn, (0.5, 99.5))
    expected = np.clip((drawn - low) / (high - low), 0, 1) * 255
    assert np.abs(frame.display() - expected).max() <= 2
    assert frame.facts.bits == 16


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_turned_over(bits: int) -> None:
    drawn = phantom("covid", 1, 96, bits=bits).astype(np.uint8 if bits == 8 else np.uint16)
    data = picture_bytes(drawn, "TIFF")
    black, white = b"\x06\1\3\0\1\0\0\0\1", b"\x06\1\3\0\1\0\0\0\0"  # PhotometricInterpretation
    assert data.count(black) == 1
    (usual,), (turned,) = read(data), read(data.replace(black, white))
    np.testing.assert_array_equal(turned.display(), 255 - usual.display())


def _wide_png(channels: np.ndarray, colour: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", channels.shape[1], channels.shape[0], 16, colour, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in channels)
    pixels = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def test_a_wide_png_with_transparency_keeps_all_its_bits() -> None:
    drawn = phantom("covid", 1, 96, bits=12).astype(np.uint16)  # of 16 bits Pillow keeps the upper eight
    whole = np.full_like(drawn, 65535)
    (plain,) = read(_wide_png(drawn[:, :, None], 0))
    (frame,) = read(_wide_png(np.dstack([drawn, whole]), 4))
    assert frame.facts.bits == 16
    np.testing.assert_array_equal(frame.stored, drawn)
    np.testing.assert_array_equal(frame.display(), plain.display())


def test_a_wide_png_in_colour_is_read_where_eight_bits_show_it() -> None:
    drawn = phantom("covid", 1, 96, bits=12).astype(np.uint16)
    assert reason_of(_wide_png(np.dstack([drawn << 4] * 3), 2)) is None
    assert reason_of(_wide_png(np.dstack([drawn] * 3), 2)) == Reason.UNSUPPORTED_ENCODING


def test_rgb_with_equal_channels_is_the_grey_picture() -> None:
    drawn = phantom("normal", 1, 128)
    for kind in ("PNG", "BMP", "WEBP"):
        buffer = BytesIO()
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        Image.fromarray(drawn).convert("RGB").save(buffer, kind, **options)
        assert np.array_equal(read(buffer.getvalue())[0].display(), drawn), kind


def test_a_large_jpeg_keeps_its_facts_and_its_look_when_decoded_small() -> None:
    data = picture_bytes(phantom("normal", 1, 1600), "JPEG")
    (large,) = frames(data)
    (small,) = frames(data, max_side=512)
    assert large.stored.shape == (1600, 1600) and small.stored.shape == (800, 800)
    assert small.facts == large.facts and small.facts.width == 1600
    halved = np.asarray(Image.fromarray(large.display()).resize((800, 800), Image.Resampling.BOX), int)
    assert np.abs(halved - small.display()).mean() < 1


def test_pages_of_a_tiff_are_frames() -> None:
    pages = [Image.fromarray(phantom("normal", seed, 96)) for seed in (1, 2, 3)]
    buffer = BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    found = list(prepare(buffer.getvalue()))
    assert [(one.index, one.count, one.refused) for one in found] == [(0, 3, None), (1, 3, None), (2, 3, None)]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.995])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "dicom", "j2k"])
def test_a_file_cut_short_is_damaged_and_never_padded(kind: str, share: float) -> None:
    drawn = phantom("normal", 1, 256, bits=12).astype(np.uint16)
    if kind == "dicom":
        data = dicom_bytes(drawn, 1, 1, inverted=False)
    elif kind == "j2k":
        data = _compressed(drawn)
    else:
        data = picture_bytes(phantom("normal", 1, 256), kind)
    assert reason_of(data) is None
    assert reason_of(data[: int(len(data) * share)]) == Reason.DAMAGED


def test_one_flipped_bit_in_a_png_is_found() -> None:
    data = bytearray(picture_bytes(phantom("normal", 1, 128), "PNG"))
    data[len(data) // 2] ^= 1
    assert reason_of(bytes(data)) == Reason.DAMAGED


def test_declared_size_is_held_against_the_limit_before_decoding() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for width in (2**31 - 1, 60_000, 16_000):
        header = struct.pack(">IIBBBBB", width, width, 8, 0, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
        assert reason_of(png) == Reason.TOO_LARGE
    dataset = pydicom.dcmread(
        BytesIO(dicom_bytes(phantom("normal", 1, 96, 12).astype(np.uint16), 1, 1, inverted=False))
    )
    dataset.Rows = dataset.Columns = 65535
    assert reason_of(_saved(dataset)) == Reason.TOO_LARGE
    dataset.Rows = dataset.Columns = 96
    dataset.NumberOfFrames = 2**31 - 1
    assert reason_of(_saved(dataset)) == Reason.TOO_LARGE


def test_a_codestream_of_another_size_than_the_tags_is_not_decoded() -> None:
    dataset = pydicom.dcmread(BytesIO(_compressed(phantom("normal", 1, 256, 12).astype(np.uint16))))
    dataset.Rows = 128
    assert reason_of(_saved(dataset)) == Reason.DAMAGED


def test_a_jpeg_too_short_for_its_size_is_damaged() -> None:
    data = bytearray(picture_bytes(phantom("normal", 1, 96), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 4000, 8000)
    assert reason_of(bytes(data)) == Reason.DAMAGED


def test_a_deflated_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = pydicom.dcmread(
        BytesIO(dicom_bytes(phantom("normal", 1, 96, 12).astype(np.uint16), 1, 1, inverted=False))
    )
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    assert reason_of(_saved(dataset)) is None
    dataset.add_new(0x00091001, "OB", bytes(70 << 20))
    bomb = _saved(dataset)
    assert len(bomb) < 1 << 20
    assert reason_of(bomb) == Reason.TOO_LARGE
    # A larger file may grow by as many times, but not to any size.
    monkeypatch.setattr(elements, "FREE_INFLATION", 1 << 20)
    dataset.add_new(0x00091001, "OB", random.randbytes(200_000) + bytes(9 << 20))
    assert reason_of(_saved(dataset)) is None
    monkeypatch.setattr(elements, "MAX_INFLATED", 2 << 20)
    assert reason_of(_saved(dataset)) == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"hello, this is a note about the archive", Reason.NO_IMAGE),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), Reason.DAMAGED),
        (b"\xff\xd8\xff\xe0" + bytes(100), Reason.DAMAGED),
        (bytes(128) + b"DICM", Reason.DAMAGED),
        (b"\0\0\0\x18ftypheic" + bytes(100), Reason.UNSUPPORTED_ENCODING),
        (b"MZ" + bytes(5000) + b"PK\x05\x06" + bytes(18), Reason.ARCHIVE_UNSUPPORTED),
        (bytes(32768) + b"\x01CD001" + bytes(100), Reason.ARCHIVE_UNSUPPORTED),
        (b"%PDF-1.7" + bytes(100), Reason.NO_IMAGE),
        (b"P5\n96 96\n255\n" + bytes(96 * 96), Reason.UNSUPPORTED_ENCODING),
        (b"\xff\x0a" + bytes(100), Reason.UNSUPPORTED_ENCODING),
        (
            picture_bytes(phantom("normal", 1, 96), "JPEG").replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"),
            Reason.UNSUPPORTED_ENCODING,
        ),
        (
            picture_bytes(phantom("normal", 1, 96), "BMP").replace(b"\1\0\x08\0", b"\1\0\x02\0", 1),
            Reason.UNSUPPORTED_ENCODING,
        ),
    ],
)
def test_what_is_no_picture_gets_its_reason(data: bytes, reason: Reason) -> None:
    assert reason_of(data) == reason


def test_frames_that_are_refused_are_not_kept_by_their_reasons() -> None:
    pages = [Image.new("L", (1000, 1000), 100 + page) for page in range(40)]
    buffer = BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_deflate")
    list(prepare(buffer.getvalue()))
    gc.disable()  # by itself it comes now and then, and frames of an exception are a circle
    tracemalloc.start()
    try:
        found = list(prepare(buffer.getvalue()))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert [one.refused.reason for one in found if one.refused] == [Reason.BLANK] * 40
    assert held < 10_000_000


def test_a_blank_frame_is_refused_and_its_neighbours_are_not() -> None:
    pages = [Image.fromarray(phantom("normal", 1, 96)), Image.new("L", (96, 96), 90)]
    buffer = BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    good, blank = prepare(buffer.getvalue())
    assert good.refused is None and good.derivative is not None
    assert decode(good.derivative).shape == (96, 96)
    assert blank.derivative is None and blank.refused is not None and blank.refused.reason == Reason.BLANK


def _saved(dataset: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _compressed(drawn: np.ndarray) -> bytes:
    dataset = pydicom.dcmread(BytesIO(dicom_bytes(drawn, 1, 1, inverted=False)))
    dataset.compress(uid.JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return _saved(dataset)
