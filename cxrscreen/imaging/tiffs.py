"""What has to be known of a TIFF before Pillow is believed: it takes more kinds than it reads rightly."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrscreen.imaging.limits import MAX_FRAMES
from cxrscreen.imaging.reasons import Reason, Rejected

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COMPRESSIONS = {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"}
# Strips or tiles of a page, each of which costs a call or more; one for each row of the tallest picture stays under it.
MAX_PARTS = 1 << 16
_BITS, _PHOTOMETRIC, _CHANNELS, _PLANES, _KIND = 0x0102, 0x0106, 0x0115, 0x011C, 0x0153
_BYTES = {1, 2, 6, 7}  # kinds of entries that are kept as they are, of any length: profiles, texts
_WHITE_IS_ZERO, _SEPARATE, _UNSIGNED, _SIGNED = 0, 2, 1, 2


def check_lists(data: bytes) -> None:
    """Raise Rejected where a page lists more numbers than parts that a page may have: Pillow makes an object of each,
    so that a file of megabytes would take gigabytes. A header that cannot be followed is for Pillow to refuse."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    number, entry, offset = ("Q", "HHQ8x", "Q") if big else ("H", "HHI4x", "I")
    try:
        (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        for _ in range(MAX_FRAMES):
            (count,) = struct.unpack_from(order + number, data, at)
            at += struct.calcsize(order + number)
            end = at + count * struct.calcsize(order + entry)
            if not count or end > len(data):
                return
            for _, kind, length in struct.iter_unpack(order + entry, memoryview(data)[at:end]):
                if length > MAX_PARTS and kind not in _BYTES:
                    raise Rejected(Reason.UNSUPPORTED_ENCODING, f"A TIFF in more than {MAX_PARTS:,} parts.")
            (at,) = struct.unpack_from(order + offset, data, end)
    except struct.error:
        return


def pages(image: Image.Image) -> int:
    """How many there are. Raises Rejected where they are too many, after that many: Pillow's own count of them takes
    the longer for each the more there are."""
    try:
        for count in range(1, MAX_FRAMES + 1):
            image.seek(count)
    except EOFError:
        image.seek(0)
        return count
    except Exception as error:
        raise Rejected(Reason.DAMAGED, "The pages of the TIFF cannot be counted.") from error
    raise Rejected(Reason.TOO_LARGE, f"More than {MAX_FRAMES:,} pages are not read.")


def check_page(image: Image.Image) -> None:
    """Raise Rejected for a page of a kind that Pillow reads as another picture, or reads for ever."""
    if image.info.get("compression") not in COMPRESSIONS:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, f"TIFF compression {image.info.get('compression')}.")
    separate = _first(image, _PLANES) == _SEPARATE and _first(image, _CHANNELS) not in (None, 1)
    if separate and _first(image, _BITS) != 8:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, "A TIFF of separate planes with more than 8 bits.")
    if _first(image, _KIND) == _SIGNED and _first(image, _BITS) == 8:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, "A TIFF whose bytes have a sign.")


def as_stored(image: Image.Image, values: NDArray[Any]) -> NDArray[Any]:
    """The samples of a page as Pillow gives them; those of 32 bits without a sign, which it takes for signed, as they
    are."""
    unsigned = image.mode == "I" and _first(image, _BITS) == 32 and _first(image, _KIND) in (None, _UNSIGNED)
    return values.view(np.uint32) if unsigned else values


def white_is_zero(image: Image.Image) -> bool:
    """As film scanners write them. Pillow turns 8 bits over by itself, and wider samples not."""
    return bool(_first(image, _PHOTOMETRIC) == _WHITE_IS_ZERO)


def _first(image: Image.Image, tag: int) -> Any:
    value = image.tag_v2.get(tag)  # type: ignore[attr-defined]
    return value[0] if isinstance(value, tuple) and value else value
