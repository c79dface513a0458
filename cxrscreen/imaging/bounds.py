"""How many parts the header of a picture file may have. Pillow takes them one by one, so that a file of megabytes keeps
it busy for minutes, or makes gigabytes of objects."""

from __future__ import annotations

import struct

from cxrscreen.imaging import codestream, tiffs
from cxrscreen.imaging.reasons import Reason, Rejected

PNG_START = b"\x89PNG\r\n\x1a\n"
# libpng writes pixels in chunks of 8 KB.
MAX_PARTS = 100_000
_JPEG_START, _GIF_START, _BOXES_START = b"\xff\xd8", b"GIF8", b"\0\0\0\x0cjP  "


def check(data: bytes) -> None:
    """Raise Rejected for a file of too many parts; one that cannot be followed is for its reader to refuse."""
    try:
        if data.startswith(tiffs.MAGIC):
            tiffs.check_lists(data)
        elif data.startswith(_JPEG_START):
            codestream.check_header(data)
        elif data.startswith(_BOXES_START):
            _check_boxes(data)
        elif data.startswith(_GIF_START):
            _check_gif(data)
        elif data.startswith(PNG_START):
            _check_chunks(data)
    except (struct.error, IndexError):
        return


def _check_chunks(data: bytes) -> None:
    at = len(PNG_START)
    for _ in range(MAX_PARTS):
        (length,) = struct.unpack_from(">I", data, at)
        at += 12 + length
    raise _too_many("chunks")


def _check_boxes(data: bytes) -> None:
    """Those of JPEG 2000 up to its codestream (T.800 I.4), the ones in the header's own among them."""
    at = 0
    for _ in range(MAX_PARTS):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"jp2c" or not length:
            return
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        at += 8 if name == b"jp2h" else max(8, length)
    raise _too_many("boxes")


def _check_gif(data: bytes) -> None:
    """What stands in front of the first picture."""
    flags = data[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(MAX_PARTS):
        if data[at] == 0x21:
            at += 2  # an extension, and blocks up to an empty one
        elif data[at] == 0x2C:
            return
        at += data[at] + 1
    raise _too_many("blocks")


def _too_many(what: str) -> Rejected:
    return Rejected(Reason.UNSUPPORTED_ENCODING, f"A picture with more than {MAX_PARTS:,} {what}.")
