"""JPEG 2000 (T.800): what a codestream declares, and its picture at a fraction of the size.

The wavelet keeps a picture at one size after the other, each half of the next. What a derivative needs is among the
first of them; the rest is most of the bytes and nearly all of the work.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

START = b"\xff\x4f\xff\x51"
_CODING, _CODING_OF_ONE, _TILE, _END = 0xFF52, 0xFF53, 0xFF90, 0xFFD9


@dataclass(frozen=True)
class Header:
    rows: int
    columns: int
    placed: bool  # away from the corner of its grid: sizes at a fraction are rounded otherwise then
    components: int
    bits: int
    signed: bool
    levels: int  # how often it may be halved; 0 where that is not the same all over
    tiles: int  # where the first tile begins


def read_header(data: bytes) -> Header | None:
    """Of a codestream, in its boxes or without; None where there is none. Raises struct.error where it is cut short."""
    start = data.find(START)
    if start < 0:
        return None
    length, _, right, bottom, left, top = struct.unpack_from(">HH4I", data, start + 4)
    components, depth = struct.unpack_from(">HB", data, start + 40)
    at, levels = start + 4 + length, 0
    coded_alike = True
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _TILE or marker < 0xFF00:
            break
        if marker == _CODING:
            levels = data[at + 9]
        coded_alike = coded_alike and marker != _CODING_OF_ONE
        at += 2 + length
    return Header(
        rows=bottom - top,
        columns=right - left,
        placed=bool(left or top),
        components=components,
        bits=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        levels=levels if coded_alike else 0,
        tiles=at,
    )


def reduced(data: bytes, most: int) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """The picture [H, W] or [H, W, 3], halved as often as leaves no side under `most`: what averaging over squares
    gives, but for its noise. Samples fill their 8 or 16 bits, as Pillow has them.

    None where the whole of it has to be decoded: it is small already, or something about it is out of the ordinary.
    A codestream whose tiles do not end where it does is left to that decoder, too, since here nobody would miss what
    lies behind the part that is read.
    """
    try:
        head = read_header(data)
        if head is None or head.placed or not _adds_up(data, head.tiles):
            return None
        times = min(head.levels, (min(head.rows, head.columns) // most).bit_length() - 1)
        if times < 1:
            return None
        image = Image.open(BytesIO(data), formats=("JPEG2000",))
        if image.size != (head.columns, head.rows) or image.mode not in ("L", "I;16", "RGB"):
            return None
        image.reduce = times  # type: ignore[assignment, method-assign]
        # Pillow rounds halves of odd sides its own way and then misses pixels; from a multiple it cannot go wrong.
        image._size = (-(-head.columns >> times) << times, -(-head.rows >> times) << times)
        image.load()
        return _centred(np.asarray(image), 1 << times)
    except Exception:  # whatever it is, the decoder of whole pictures says it better
        return None


def _centred(samples: NDArray[Any], side: int) -> NDArray[Any]:
    """From samples that stand at the first pixel of each square of `side`, as the wavelet leaves them, to ones in its
    middle, in a straight line to the next: that also takes away the sharpness which the wavelet leaves too much."""
    for _ in range(2):  # down, and then across
        wide = samples.astype(np.int32)
        wide[:-1] += (np.diff(wide, axis=0) * (side - 1) + side) // (2 * side)
        samples = np.swapaxes(wide, 0, 1).astype(samples.dtype)
    return samples


def lacks_tiles(data: bytes) -> bool:
    """Whether tile-parts follow one another to the end mark and some tile has none: decoders leave such a tile in one
    tone. False where they cannot be followed. Raises struct.error where the header is cut short."""
    head = read_header(data)
    if head is None or not _adds_up(data, head.tiles):
        return False
    start = data.find(START)
    right, bottom = struct.unpack_from(">2I", data, start + 8)
    width, height, left, top = struct.unpack_from(">4I", data, start + 24)
    wanted = -(-(right - left) // max(1, width)) * -(-(bottom - top) // max(1, height))
    at, found = head.tiles, set()
    while data[at : at + 2] == _TILE.to_bytes(2):
        tile, length = struct.unpack_from(">HI", data, at + 4)
        found.add(tile)
        at += length
    return bool(len(found) < wanted)


def _adds_up(data: bytes, at: int) -> bool:
    """Whether one tile-part follows the other up to the end mark. Raises struct.error where one is cut short."""
    while True:
        (marker,) = struct.unpack_from(">H", data, at)
        if marker == _END:
            return True
        (length,) = struct.unpack_from(">I", data, at + 6)
        if marker != _TILE or length < 14:
            return False
        at += length
