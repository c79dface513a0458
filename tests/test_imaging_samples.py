"""DICOM files whose tags and samples disagree: never another picture than the one that was taken."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from cxrscreen.imaging import Frame, Reason, Rejected, prepare, read
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.imaging.phantoms import phantom

# Imported here, the filters that keep the decoders' warnings from the terminal are undone by pytest.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SIDE = 96
DRAWN = phantom("covid", 1, SIDE, bits=12).astype(np.uint16)
SHOWN = phantom("covid", 1, SIDE).astype(np.uint8)
SYNTAXES = {
    "rle": (uid.RLELossless, "pydicom"),
    "j2k": (uid.JPEG2000Lossless, "pylibjpeg"),
    "jls": (uid.JPEGLSLossless, "pyjpegls"),
}


def dataset(packed: str = "", **changes: Any) -> pydicom.Dataset:
    """A chest of 12 bits; compressed by a name of SYNTAXES and changed afterwards."""
    made = pydicom.dcmread(BytesIO(dicom_bytes(DRAWN, 1, 1, inverted=False)))
    if packed:
        syntax, plugin = SYNTAXES[packed]
        made.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def stored(made: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def shown(made: pydicom.Dataset) -> Frame:
    (frame,) = read(stored(made))
    assert np.abs(frame.display().astype(int) - SHOWN).mean() < 2
    return frame


def reason_of(made: pydicom.Dataset) -> Reason:
    with pytest.raises(Rejected) as refused:
        list(prepare(stored(made)))
    return refused.value.reason


def colours(pixels: NDArray[Any], kind: str = "RGB", bits: int = 8, **changes: Any) -> pydicom.Dataset:
    allocated = 8 * pixels.dtype.itemsize
    depths = {"BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1}
    made = dataset(SamplesPerPixel=3, PhotometricInterpretation=kind, PlanarConfiguration=0, **depths)
    made.PixelData = pixels.tobytes()
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("packed", ["", "rle"])
@pytest.mark.parametrize("lie", [{"Rows": SIDE // 2}, {"Columns": SIDE - 1}, {"Rows": SIDE - 1}, {"Rows": SIDE + 1}])
def test_a_size_that_is_not_that_of_the_pixels_is_noticed(lie: dict[str, int], packed: str) -> None:
    assert reason_of(dataset(packed, **lie)) == Reason.DAMAGED


def test_what_writers_leave_behind_the_pixels_costs_no_picture() -> None:
    shown(dataset(PixelData=DRAWN.tobytes() + bytes(128)))
    assert reason_of(dataset(PixelData=DRAWN.tobytes() * 2)) == Reason.DAMAGED  # a second frame that no tag tells of


@pytest.mark.parametrize(("packed", "bits"), [("", 10), ("rle", 10), ("j2k", 10), ("jls", 10), ("", 8)])
def test_samples_of_more_bits_than_the_tags_declare_are_not_wrapped(packed: str, bits: int) -> None:
    assert reason_of(dataset(packed, BitsStored=bits, HighBit=bits - 1)) == Reason.DAMAGED


@pytest.mark.parametrize("packed", ["j2k", "jls"])
def test_a_codestream_deeper_than_its_samples_is_refused(packed: str) -> None:
    made = dataset(packed, BitsAllocated=8, BitsStored=8, HighBit=7)
    assert reason_of(made) == Reason.UNSUPPORTED_ENCODING


def test_samples_at_the_upper_end_of_their_bytes_are_refused() -> None:
    assert reason_of(dataset(PixelData=(DRAWN << 4).tobytes(), HighBit=15)) == Reason.DAMAGED


def test_an_overlay_in_the_unused_bits_is_none_of_the_picture() -> None:
    marked = (DRAWN | ((DRAWN > 2000).astype(np.uint16) << 12)).tobytes()
    assert reason_of(dataset(PixelData=marked)) == Reason.DAMAGED
    made = dataset(PixelData=marked)
    made.add_new(0x60000100, "US", 16)
    made.add_new(0x60000102, "US", 12)
    shown(made)


def test_a_few_dead_samples_cost_no_picture() -> None:
    dead = DRAWN.copy()
    dead[0, :3] = 65535
    shown(dataset(PixelData=dead.tobytes()))


@pytest.mark.parametrize("filled", [True, False])
def test_negative_samples_may_have_their_sign_in_their_own_bits_alone(filled: bool) -> None:
    values = DRAWN.astype(np.int16) - 2048
    pixels = values if filled else values & 0x0FFF
    shown(dataset(PixelRepresentation=1, WindowCenter="0", PixelData=pixels.astype("<i2").tobytes()))


@pytest.mark.parametrize("packed", SYNTAXES)
def test_a_wrong_table_of_offsets_costs_no_single_frame(packed: str) -> None:
    made = dataset(packed)
    frame = next(generate_frames(made.PixelData, number_of_frames=1))
    for table in (b"", struct.pack("<I", 4242), struct.pack("<3I", 0, 10, 0xFFFFFFFF)):
        items = (table, frame + b"\0" * (len(frame) % 2))
        made.PixelData = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in items)
        shown(made)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colours_of_any_depth_are_as_bright_as_they_are(bits: int) -> None:
    deep = phantom("covid", 1, SIDE, bits=bits)
    pixels = np.stack([deep] * 3, -1).astype(np.uint8 if bits == 8 else np.uint16)
    shown(colours(pixels, bits=bits))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("YBR_PARTIAL_420", {}), ("YBR_ICT", {}), ("HSV", {}), ("MONOCHROME2", {}), ("RGB", {"PixelRepresentation": 1})],
)
def test_colours_of_an_unknown_kind_are_refused(kind: str, changes: dict[str, int]) -> None:
    assert reason_of(colours(np.stack([SHOWN] * 3, -1), kind, **changes)) == Reason.UNSUPPORTED_ENCODING


@pytest.mark.parametrize("kind", [None, "MONOCHROME9", "RGB"])
def test_greys_of_an_unknown_kind_are_refused(kind: str | None) -> None:
    assert reason_of(dataset(PhotometricInterpretation=kind)) == Reason.UNSUPPORTED_ENCODING


def test_a_palette_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    made = dataset(PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7)
    made.PixelData = SHOWN.tobytes()
    segments = np.array([0, 1, 0, *([1, 65535, 9] * 10_000)], "<u2").tobytes()
    for tag in (0x00281101, 0x00281102, 0x00281103):
        made.add_new(tag, "US", [256, 0, 16])
        made.add_new(tag + 0x120, "OW", segments)
    assert reason_of(made) == Reason.UNSUPPORTED_ENCODING


def rle(segments: list[bytes], at: list[int] | None = None) -> pydicom.Dataset:
    """A file with one frame of these segments, or of such as are told to lie elsewhere."""
    starts = [64]
    for segment in segments:
        starts.append(starts[-1] + len(segment))
    header = [len(segments), *(at or starts[:-1])]
    frame = struct.pack("<16I", *header, *[0] * (16 - len(header))) + b"".join(segments)
    made = dataset("rle")
    made.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    return made


@pytest.mark.parametrize(
    "made",
    [
        lambda: rle([b"\x81\0" * 500_000] * 2),  # each pair of bytes stands for 128
        lambda: rle([b"\x80" * 500_000] * 2),  # for nothing
        lambda: rle([b"\x81\0" * 72] * 3),
        lambda: rle([b"\x81\0" * 71] * 2),
        lambda: rle([b"\x81\0" * 72] * 2, at=[64, 0xFFFFFFFF]),
        lambda: rle([b"\x81\0" * 72] * 2, at=[200, 64]),
    ],
)
def test_an_rle_frame_of_another_length_is_refused_before_it_is_unpacked(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("It is unpacked.")

    monkeypatch.setattr("pydicom.pixels.decoders.rle._rle_decode_segment", refuse)
    with pytest.raises(Rejected) as refused:
        list(prepare(stored(made())))
    assert refused.value.reason == Reason.DAMAGED and "unpacked" not in refused.value.detail


@pytest.mark.parametrize(("entries", "kept"), [(4096, True), (4095, True), (100, False)])
def test_a_table_that_is_cut_short_counts_as_absent(entries: int, kept: bool) -> None:
    made = dataset(WindowCenter=None, WindowWidth=None)
    plain = shown_greys(made)
    item = pydicom.Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.add_new(0x00283006, "OW", (np.sqrt(np.arange(4096) / 4095) * 4095).astype("<u2")[:entries].tobytes())
    made.VOILUTSequence = pydicom.Sequence([item])
    assert np.array_equal(shown_greys(made), plain) is not kept


def shown_greys(made: pydicom.Dataset) -> NDArray[np.uint8]:
    (frame,) = read(stored(made))
    return frame.display()


@pytest.mark.parametrize("width", ["1", "2", "8"])
def test_a_window_of_hardly_a_code_is_passed_over(width: str) -> None:
    plain = shown_greys(dataset(WindowCenter=None, WindowWidth=None))
    assert np.array_equal(shown_greys(dataset(WindowCenter="2048", WindowWidth=width)), plain)
    assert not np.array_equal(shown_greys(dataset(WindowCenter="2048", WindowWidth="1000")), plain)
