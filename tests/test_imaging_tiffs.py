"""TIFFs of rare kinds, and such as are made to keep a reader busy: read rightly, or refused with a reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrscreen.imaging import Reason, Rejected, prepare, read
from cxrscreen.imaging.phantoms import phantom
from cxrscreen.imaging.tiffs import MAX_PARTS

SIDE = 96
LONG = 4
DRAWN = phantom("covid", 1, SIDE, bits=16)


def tiff(pixels: bytes, bits: int, kind: int, *more: tuple[int, int], channels: int = 1) -> bytes:
    """A page of SIDE x SIDE samples of a kind (1 unsigned, 2 signed, 3 floating), with further tags."""
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: 1, 262: 1, 273: 8, 277: channels, 278: SIDE, 279: len(pixels)}
    tags |= {339: kind, **dict(more)}
    entries = [struct.pack("<HHII", tag, LONG, 1, tags[tag]) for tag in sorted(tags)]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


def chain(pages: int) -> bytes:
    """Small pages that share their pixels."""
    tags = ((256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (273, 8), (278, 64), (279, 4096))
    length = 2 + 12 * len(tags) + 4
    found = []
    for page in range(pages):
        entries = b"".join(struct.pack("<HHII", tag, LONG, 1, value) for tag, value in tags)
        after = 8 + (page + 1) * length if page + 1 < pages else 0
        found.append(struct.pack("<H", len(tags)) + entries + struct.pack("<I", after))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(found) + bytes(4096)


def shows(data: bytes, drawn: NDArray[np.uint16] = DRAWN) -> None:
    (frame,) = read(data)
    low, high = np.percentile(drawn, (0.5, 99.5))
    expected = np.clip((drawn - low) / (high - low), 0, 1) * 255
    assert np.abs(frame.display() - expected)[1:].max() <= 2  # the first row has the dead one


def reason_of(data: bytes) -> Reason:
    with pytest.raises(Rejected) as refused:
        list(prepare(data))
    return refused.value.reason


def test_wide_samples_without_a_sign_are_not_taken_for_signed_ones() -> None:
    shows(tiff((DRAWN.astype("<u4") * 65536).tobytes(), 32, 1))


@pytest.mark.parametrize("kind", ["f4", "i4"])
def test_a_dead_sample_far_from_all_others_leaves_them_their_greys(kind: str) -> None:
    values = DRAWN.astype(f"<{kind}")
    values[0, 0] = 2e9
    shows(tiff(values.tobytes(), 32, 3 if kind == "f4" else 2))


def test_what_pillow_reads_as_another_picture_is_refused() -> None:
    signed = (DRAWN >> 8).astype(np.int16) - 128
    assert reason_of(tiff(signed.astype(np.int8).tobytes(), 8, 2)) == Reason.UNSUPPORTED_ENCODING
    planes = tiff(np.stack([DRAWN] * 3).astype("<u2").tobytes(), 16, 1, (284, 2), (262, 2), channels=3)
    at = planes.index(struct.pack("<HHII", 258, LONG, 1, 16))
    for tag, place in ((258, at), (273, planes.index(struct.pack("<HHII", 273, LONG, 1, 8)))):
        # Three of each: their place is the end of the file.
        planes = planes[:place] + struct.pack("<HHII", tag, LONG, 3, len(planes)) + planes[place + 12 :]
        planes += struct.pack(
            "<3I", *((16,) * 3 if tag == 258 else (8 + 2 * SIDE * SIDE * plane for plane in range(3)))
        )
    assert reason_of(planes) == Reason.UNSUPPORTED_ENCODING


def test_a_later_page_is_held_to_what_the_first_one_is() -> None:
    data = bytearray(chain(2))
    second = data.rindex(struct.pack("<HHII", 259, LONG, 1, 1))
    struct.pack_into("<HHII", data, second, 259, LONG, 1, 4)  # a fax
    assert reason_of(bytes(data)) == Reason.UNSUPPORTED_ENCODING


def test_pages_without_end_are_not_counted_to_their_end() -> None:
    assert len(list(read(chain(30)))) == 30
    assert reason_of(chain(100_000)) == Reason.TOO_LARGE


@pytest.mark.parametrize("big", [False, True])
def test_a_page_in_a_million_parts_is_not_listed(big: bool) -> None:
    if big:
        data = b"MM\0+\0\x08\0\0" + struct.pack(">QQHHQQQ", 16, 1, 273, LONG, MAX_PARTS + 1, 0, 0)
    else:
        data = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 273, LONG, MAX_PARTS + 1, 0, 0)
    with pytest.raises(Rejected, match="parts"):
        list(prepare(data + bytes(4 * MAX_PARTS)))
