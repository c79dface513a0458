"""RLE frames (PS3.5 annex G) before they are decoded: pydicom unpacks whatever there is, and takes what it needs."""

from __future__ import annotations

import struct

from cxrscreen.imaging.reasons import Reason, Rejected
from cxrscreen.imaging.samples import PADDING, check_length

_HEADER = 64
_NOTHING = 128  # a byte that stands for none


def check(frame: bytes, rows: int, columns: int, segments: int) -> None:
    """Raise Rejected where a segment does not unpack to one byte for each pixel, or might unpack to gigabytes."""
    pixels = rows * columns
    numbers = struct.unpack_from("<16I", frame) if len(frame) >= _HEADER else (0,)
    if numbers[0] != segments or segments > 15:
        raise Rejected(Reason.DAMAGED, f"{numbers[0]} segments in an RLE frame; its samples ask for {segments}.")
    ends = (*numbers[2 : segments + 1], len(frame))
    for start, end in zip(numbers[1:], ends, strict=False):
        if not _HEADER <= start <= end <= len(frame):
            raise Rejected(Reason.DAMAGED, "A segment of an RLE frame lies outside of it.")
        # Without a single repetition there are two bytes for each.
        if end - start > 2 * (pixels + PADDING):
            raise Rejected(Reason.DAMAGED, "A segment of an RLE frame is longer than its pixels can be.")
        check_length(_unpacked(frame[start:end], 2 * (pixels + PADDING)), pixels, rows, columns, 0)


def _unpacked(segment: bytes, most: int) -> int:
    """How many bytes a segment stands for; no longer counted from `most` on."""
    at = found = 0
    while at + 1 < len(segment) and found < most:
        head = segment[at]
        if head < _NOTHING:
            found += min(head + 1, len(segment) - at - 1)
            at += head + 2
        elif head > _NOTHING:
            found += 257 - head
            at += 2
        else:
            at += 1
    return found
