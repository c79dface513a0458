"""How large a picture may be before it is decoded."""

from __future__ import annotations

from cxrscreen.imaging.reasons import Reason, Rejected

# 8192 x 8192; the largest detectors and film scanners stay under 30 megapixels.
MAX_FRAME_PIXELS = 64 << 20
MAX_FILE_PIXELS = 4 * MAX_FRAME_PIXELS
MAX_FRAMES = 1000


def check_size(width: int, height: int, frames: int = 1) -> None:
    """Raise Rejected for a declared size that no picture has, or that would take too much memory or time."""
    if width <= 0 or height <= 0:
        raise Rejected(Reason.DAMAGED, "The picture has no width or no height.")
    if frames > MAX_FRAMES:
        raise Rejected(Reason.TOO_LARGE, f"{frames:,} frames; at most {MAX_FRAMES:,} are read.")
    if width * height > MAX_FRAME_PIXELS or width * height * frames > MAX_FILE_PIXELS:
        each = f"{frames} frames of " if frames > 1 else ""
        raise Rejected(Reason.TOO_LARGE, f"{each}{width:,} x {height:,} pixels are more than is read.")
