"""Looks into compressed pixels before a decoder does: their true size, and whether they end where they should."""

from __future__ import annotations

import struct

from cxrscreen.imaging.reasons import Reason, Rejected

END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS (T.81 B.1.1.3, T.87 C.1), EOC of JPEG 2000 (T.800 A.4.4)
# Each scan of a progressive JPEG costs a pass over the whole picture; a hundred are more than any encoder writes.
MAX_SCANS = 100

_J2K_START = b"\xff\x4f\xff\x51"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0-15 and JPEG-LS's SOF55
_DCT, _LOSSLESS = (0xC0, 0xC1, 0xC2), 0xC3  # baseline, extended, progressive; Huffman-coded all
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def check(stream: bytes, rows: int, columns: int) -> None:
    """Raise Rejected where a frame's codestream is cut short or is not of the size that the tags declare.

    Decoders differ in what they do with the rest of a cut stream; some fill it with zeros.
    """
    if not stream.rstrip(b"\0\xff").endswith(END):
        raise Rejected(Reason.DAMAGED, "The compressed pixels are cut short.")
    size = size_of(stream)
    if size is None:
        raise Rejected(Reason.DAMAGED, "The compressed pixels have no readable header.")
    if size != (rows, columns):
        detail = f"The tags say {columns} x {rows} pixels, the compressed data {size[1]} x {size[0]}."
        raise Rejected(Reason.DAMAGED, detail)
    check_jpeg(stream)


def check_jpeg(stream: bytes) -> None:
    """Raise Rejected for a JPEG that is too short for its size, or made to keep a decoder busy; others pass.

    Decoders paint what is missing in one tone and say nothing. Huffman coding takes a bit at least for each block of
    8 x 8, and in the lossless process for each pixel.
    """
    if _is_j2k(stream):
        return
    if stream.count(b"\xff\xda") > MAX_SCANS:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, f"The JPEG has more than {MAX_SCANS} scans.")
    try:
        header = _jpeg_header(stream)
    except (struct.error, IndexError):
        return  # the decoder says it better
    if header is None:
        return
    process, rows, columns = header
    coded = rows * columns if process == _LOSSLESS else -(-rows // 8) * -(-columns // 8)
    if process in (*_DCT, _LOSSLESS) and coded > 8 * len(stream):
        raise Rejected(Reason.DAMAGED, f"{len(stream):,} bytes cannot hold {columns} x {rows} pixels.")


def size_of(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream declares; None where that cannot be read."""
    try:
        if _is_j2k(stream):
            return _size_of_j2k(stream)
        header = _jpeg_header(stream)
        return header[1:] if header else None
    except (struct.error, IndexError):
        return None


def _is_j2k(stream: bytes) -> bool:
    return _J2K_START in stream[:512]  # some writers keep the boxes of a JP2 file in front


def _size_of_j2k(stream: bytes) -> tuple[int, int]:
    start = stream.index(_J2K_START) + 8
    right, bottom, left, top = struct.unpack_from(">4I", stream, start)
    return bottom - top, right - left


def _jpeg_header(stream: bytes) -> tuple[int, int, int] | None:
    """The frame header's marker, rows and columns (T.81 B.2.2)."""
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAME_HEADERS:
            rows, columns = struct.unpack_from(">HH", stream, at + 5)
            return marker, rows, columns
        else:
            (length,) = struct.unpack_from(">H", stream, at + 2)
            at += 2 + length
    return None
