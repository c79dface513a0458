"""JPEG pictures through libjpeg-turbo's own interface, which says where the compressed data is damaged.

Pillow decodes with the same library and hides its warnings: a file with a hole in its middle comes out as grey blocks.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cxrscreen.imaging import codestream
from cxrscreen.imaging.reasons import Reason, Rejected, first_line

# Of headers only; the picture that follows them may be whole (libjpeg's jerror.h).
_HARMLESS = ("Unknown Adobe color transform", "Warning: unknown JFIF revision", "Invalid SOS parameters for sequential")

_RARE = "Could not determine subsampling level"
_DEEP = "Unsupported JPEG data precision"


def decode(data: bytes, mode: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The samples [H, W] or [H, W, 3] of a JPEG of Pillow's `mode`, no side under `size` (width, height).

    They are those that Pillow gives. None where Pillow has to decode: other modes, and odd headers.
    Raises Rejected where the compressed data is damaged.
    """
    if mode not in ("L", "RGB"):
        check(data, "CMYK")
        return None
    found = _strictly(data, "GRAY" if mode == "L" else "RGB", height=size[1], width=size[0])
    return found[:, :, 0] if found is not None and mode == "L" else found


def check(data: bytes, colours: str = "GRAY") -> None:
    """Raise Rejected where the compressed data is damaged. Decodes at an eighth: all bits are read, few pixels made."""
    _strictly(data, colours, height=1, width=1)


def _strictly(data: bytes, colours: str, *, height: int, width: int) -> NDArray[np.uint8] | None:
    try:
        found = simplejpeg.decode_jpeg(data, colours, min_height=height, min_width=width, strict=True)
    except ValueError as error:
        # The first complaint is told and no other: one of the header may hide one of the pixels, or be the only one.
        plain = codestream.plain_jpeg(data)
        if plain != data:
            codestream.check_jpeg(plain)
            check(plain, colours)
            return None
        if str(error).startswith(_HARMLESS):
            return None
        if _DEEP in str(error):
            raise Rejected(
                Reason.UNSUPPORTED_ENCODING, "A JPEG in colour, or of odd depth, with over 8 bits."
            ) from error
        if _RARE in str(error):
            raise Rejected(Reason.UNSUPPORTED_ENCODING, "The JPEG samples its colours in a rare way.") from error
        raise Rejected(Reason.DAMAGED, f"The JPEG is damaged ({first_line(error)}).") from error
    return np.asarray(found, dtype=np.uint8)
