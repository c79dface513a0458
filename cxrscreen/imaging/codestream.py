"""Looks into compressed pixels before a decoder does: their true size, and whether they end where they should."""

from __future__ import annotations

import struct

from cxrscreen.imaging import jpeg2000
from cxrscreen.imaging.reasons import Reason, Rejected

END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS (T.81 B.1.1.3, T.87 C.1), EOC of JPEG 2000 (T.800 A.4.4)
# Some writers leave bytes of the frame before behind the end mark, which no compressed data holds.
LOOSE = 16
# Each scan of a progressive JPEG costs a pass over the whole picture; a hundred are more than any encoder writes.
MAX_SCANS = 100
# Of a header: profiles of megabytes stand in some hundred segments.
MAX_SEGMENTS, MAX_JUNK = 10_000, 1 << 16

_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0-15 and JPEG-LS's SOF55
DCT, _LOSSLESS = (0xC0, 0xC1, 0xC2), 0xC3  # baseline, extended, progressive; Huffman-coded all
_PROGRESSIVE = 0xC2
_SCAN = 0xDA
_DECODED = frozenset({0xC4, 0xCC, 0xDB, 0xDD}) | _FRAME_HEADERS  # tables, restarts and the frame
_JP2 = b"\0\0\0\x0cjP  "
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def check(stream: bytes, rows: int, columns: int, bits: int = 16) -> None:
    """Raise Rejected where a frame's codestream is cut short, is not of the size that the tags declare, or has samples
    of more than so many bits.

    Decoders differ in what they do with the rest of a cut stream; some fill it with zeros.
    """
    check_header(stream)
    if END not in stream.rstrip(b"\0\xff")[-LOOSE:]:
        raise Rejected(Reason.DAMAGED, "The compressed pixels are cut short.")
    size = size_of(stream)
    if size is None:
        raise Rejected(Reason.DAMAGED, "The compressed pixels have no readable header.")
    if size != (rows, columns):
        detail = f"The tags say {columns} x {rows} pixels, the compressed data {size[1]} x {size[0]}."
        raise Rejected(Reason.DAMAGED, detail)
    if (found := _bits_of(stream)) > bits:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, f"Samples of {found} bits in {bits}.")
    check_jpeg(stream)


def check_header(stream: bytes) -> None:
    """Raise Rejected for a JPEG with more segments, or more junk between them, in front of its first scan than any
    writer leaves: they are gone through one by one, here and by Pillow. Others pass."""
    if stream[:2] != b"\xff\xd8":
        return
    at, junk = 2, 0
    for _ in range(MAX_SEGMENTS):
        found = stream.find(b"\xff", at)
        if found < 0 or stream[found + 1 : found + 2] in (b"", bytes([_SCAN])):
            return
        junk += found - at
        marker = stream[found + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            at = found + 1
        else:
            at = found + 2 + int.from_bytes(stream[found + 2 : found + 4])
        if junk > MAX_JUNK:
            break
    raise Rejected(Reason.DAMAGED, "The JPEG's header is longer than any writer leaves.")


def check_jpeg(stream: bytes) -> None:
    """Raise Rejected for a JPEG that is too short for its size, lacks tiles, or is made to keep a decoder busy; others
    pass.

    Decoders paint what is missing in one tone and say nothing. Huffman coding takes a bit at least for each block of
    8 x 8, and in the lossless process for each pixel.
    """
    try:
        if _is_j2k(stream):
            if jpeg2000.lacks_tiles(stream):
                raise Rejected(Reason.DAMAGED, "Tiles of the JPEG 2000 picture are missing.")
            return
        header = _jpeg_header(stream)
    except (struct.error, IndexError):
        return  # the decoder says it better
    if header is None:
        return
    process, rows, columns, components, _ = header
    # One component that is not progressive is one scan; a decoder stops behind it.
    several = components > 1 or process not in (*DCT, _LOSSLESS) or process == _PROGRESSIVE
    if several and stream.count(b"\xff\xda") > MAX_SCANS:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, f"The JPEG has more than {MAX_SCANS} scans.")
    coded = rows * columns if process == _LOSSLESS else -(-rows // 8) * -(-columns // 8)
    if process in (*DCT, _LOSSLESS) and coded > 8 * len(stream):
        raise Rejected(Reason.DAMAGED, f"{len(stream):,} bytes cannot hold {columns} x {rows} pixels.")


def size_of(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream declares; None where that cannot be read."""
    try:
        if _is_j2k(stream):
            found = jpeg2000.read_header(stream)
            return (found.rows, found.columns) if found else None
        header = _jpeg_header(stream)
        return header[1:3] if header else None
    except (struct.error, IndexError):
        return None


def _bits_of(stream: bytes) -> int:
    """Of a sample; 0 where that cannot be read."""
    try:
        if _is_j2k(stream):
            found = jpeg2000.read_header(stream)
            return found.bits if found else 0
        header = _jpeg_header(stream)
        return header[4] if header else 0
    except (struct.error, IndexError):
        return 0


def jpeg_kind(stream: bytes) -> tuple[int, int] | None:
    """The frame header's marker and the bits of a sample; None where that cannot be read."""
    try:
        header = _jpeg_header(stream)
    except (struct.error, IndexError):
        return None
    return (header[0], header[4]) if header else None


def is_grey_jpeg(stream: bytes, bits: int = 8) -> bool:
    """A JPEG, not JPEG-LS and not lossless, of one component of so many bits."""
    try:
        header = _jpeg_header(stream)
    except (struct.error, IndexError):
        return False
    return header is not None and header[0] in DCT and header[3:] == (1, bits)


def plain_jpeg(stream: bytes) -> bytes:
    """The same compressed pixels under a header of nothing but what they are decoded by: no junk between segments, none
    of applications. As it is where its segments cannot be followed to the first scan."""
    parts, at = [stream[:2]], 2
    try:
        while True:
            at = stream.index(b"\xff", at)
            marker = stream[at + 1]
            if marker in (0x00, 0xFF) or marker in _ALONE:
                at += 1
                continue
            if marker == _SCAN:
                return b"".join(parts) + stream[at:]
            (length,) = struct.unpack_from(">H", stream, at + 2)
            if marker in _DECODED:
                parts.append(stream[at : at + 2 + length])
            at += 2 + length
    except (ValueError, struct.error, IndexError):
        return stream


def _is_j2k(stream: bytes) -> bool:
    # Some writers keep the boxes of a JP2 file in front, now and then with a colour profile in them.
    return jpeg2000.START in stream[:512] or stream.startswith(_JP2)


def _jpeg_header(stream: bytes) -> tuple[int, int, int, int, int] | None:
    """The frame header's marker, rows, columns, components and bits of a sample (T.81 B.2.2)."""
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
            bits, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 4)
            return marker, rows, columns, components, bits
        elif marker == _SCAN:
            return None
        else:
            (length,) = struct.unpack_from(">H", stream, at + 2)
            at += 2 + length
    return None
