"""Pictures decoded at a fraction of their size show what the whole ones show, and nothing is missed on the way."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from cxrscreen.imaging import Frame, Reason, Rejected, jpeg2000, prepare
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.imaging.phantoms import phantom
from cxrscreen.imaging.read import frames
from cxrscreen.imaging.tones import shrunk

LEAST = 128
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@cache
def _phantom(side: int) -> NDArray[np.int64]:
    return np.asarray(phantom("covid", 1, side, 12), np.int64)


def _drawn(bits: int, shape: tuple[int, int] = (601, 522)) -> NDArray[np.int64]:
    return _phantom(max(shape))[: shape[0], : shape[1]] >> 12 - min(bits, 12)


def _dicom(drawn: NDArray[np.int64], bits: int = 12, *, signed: bool = False, **tags: object) -> pydicom.Dataset:
    dataset = pydicom.dcmread(BytesIO(dicom_bytes(np.zeros((96, 96), np.uint16), 1, 1, inverted=False)))
    wide = 1 + (bits > 8)
    dataset.Rows, dataset.Columns = drawn.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * wide, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1) * (not signed), 2**bits
    dataset.PixelData = (drawn - signed * 2 ** (bits - 1)).astype(f"<{'i' if signed else 'u'}{wide}").tobytes()
    dataset["PixelData"].VR = "OW" if wide == 2 else "OB"
    for name, value in tags.items():
        setattr(dataset, name, value)
    if "PixelPaddingValue" in dataset:
        dataset["PixelPaddingValue"].VR = "US"
    return dataset


def _bytes(dataset: pydicom.Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _both(data: bytes) -> tuple[Frame, Frame]:
    (whole,), (small,) = frames(data), frames(data, LEAST)
    assert small.facts == whole.facts and small.stored.dtype == whole.stored.dtype
    return whole, small


def _apart(whole: Frame, small: Frame) -> float:
    """The mean difference, in greys, between the small picture and the large one's squares."""
    mean = shrunk(whole.display(), LEAST)
    assert small.display().shape == mean.shape
    return float(np.abs(mean.astype(int) - small.display()).mean())


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (10, True), (12, False), (16, False), (16, True)])
@pytest.mark.parametrize("packed", [False, True])
def test_a_dicom_file_at_a_fraction_shows_the_same(bits: int, signed: bool, packed: bool) -> None:
    dataset = _dicom(_drawn(bits, (601, 514)) << max(0, bits - 12), bits, signed=signed)
    if packed:
        dataset.compress(uid.JPEG2000Lossless, encoding_plugin="pylibjpeg")
    whole, small = _both(_bytes(dataset))
    assert whole.stored.shape == (601, 514) and small.stored.shape == (151, 129)
    assert _apart(whole, small) < 2.5  # 3.6 where the wavelet's samples are taken for the middles of squares


def test_without_a_window_the_whole_picture_says_what_is_black_and_white() -> None:
    dataset = _dicom(_drawn(12))
    del dataset.WindowCenter, dataset.WindowWidth
    whole, small = _both(_bytes(dataset))
    assert np.array_equal(whole.tones, small.tones)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowWidth": 100},
        {"VOILUTFunction": "SIGMOID"},
        {"PixelPaddingValue": 0},
        {"RescaleSlope": "20", "RescaleIntercept": "0"},
    ],
)
def test_where_greys_do_not_follow_in_a_straight_line_the_whole_is_shown(tags: dict[str, object]) -> None:
    whole, small = _both(_bytes(_dicom(_drawn(12), **tags)))
    assert np.array_equal(whole.stored, small.stored) and np.array_equal(whole.tones, small.tones)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB"])
@pytest.mark.parametrize("tiled", [False, True])
def test_a_jpeg_2000_picture_at_a_fraction_shows_the_same(mode: str, tiled: bool) -> None:
    drawn = _drawn(12 if mode == "I;16" else 8)
    image = Image.fromarray(drawn.astype(np.uint16 if mode == "I;16" else np.uint8)).convert(mode)
    buffer = BytesIO()
    image.save(buffer, "JPEG2000", **({"tile_size": (320, 320)} if tiled else {}))
    whole, small = _both(buffer.getvalue())
    assert small.stored.shape == (151, 131)
    assert _apart(whole, small) < 2.5
    assert abs(whole.coloured - small.coloured) < 0.01


def test_a_grey_jpeg_in_a_dicom_file_is_decoded_small_and_its_damage_is_seen() -> None:
    dataset = _dicom(_drawn(8), 8)
    plain = BytesIO()
    Image.fromarray(_drawn(8).astype(np.uint8)).save(plain, "JPEG", quality=95)
    stream = plain.getvalue()
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    data = _bytes(dataset)
    whole, small = _both(data)
    assert min(small.stored.shape) < min(whole.stored.shape)
    assert next(iter(prepare(data))).refused is None
    at = data.index(stream[:64]) + len(stream) // 2
    with pytest.raises(Rejected) as refused:
        list(frames(data[:at] + b"\x5a" * 40 + data[at + 40 :], LEAST))
    assert refused.value.reason == Reason.DAMAGED


def _codestream() -> bytes:
    dataset = _dicom(_drawn(12))
    dataset.compress(uid.JPEG2000Lossless, encoding_plugin="pylibjpeg")
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_what_lies_behind_the_part_that_is_read_has_to_be_there(share: float) -> None:
    stream = _codestream()
    assert jpeg2000.reduced(stream, LEAST) is not None
    cut = int(len(stream) * share)
    assert jpeg2000.reduced(stream[:cut], LEAST) is None
    assert jpeg2000.reduced(stream[:cut] + stream[-2:], LEAST) is None
    dataset = _dicom(_drawn(12))
    dataset.PixelData = encapsulate([stream[:cut] + stream[-2:]])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    with pytest.raises(Rejected) as refused:
        list(prepare(_bytes(dataset)))
    assert refused.value.reason == Reason.DAMAGED


def test_a_small_one_is_decoded_whole() -> None:
    assert jpeg2000.reduced(_codestream(), 300) is None
