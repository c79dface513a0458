"""The small 8-bit picture that the network and every rescreening see instead of the original."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from cxrscreen.imaging import jpegs
from cxrscreen.imaging.frame import Grey
from cxrscreen.imaging.reasons import Reason, Rejected

# Names the whole way from stored samples to these pixels; changed with anything that changes them (law 10).
PREPROCESSING = "cxr8-2"
MAX_SIDE = 512
MAX_BYTES = 64 * 1024
# Only noise needs more than the first steps.
_STEPS = ((512, 92), (512, 85), (512, 75), (512, 60), (512, 40), (384, 40), (256, 30), (128, 30))


def encode(display: Grey) -> bytes:
    """A grey JPEG of a picture [H, W], at most 512 pixels a side and 64 KB; never enlarged, the same each time."""
    image = Image.fromarray(display)
    data = b""
    for side, quality in _STEPS:
        if max(image.size) > side:
            # A very narrow picture keeps at least one pixel of width.
            scale = side / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            # Averaged by a whole factor first, as a JPEG that is decoded at a fraction is: both ways agree then.
            image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
        if len(data) <= MAX_BYTES:
            break
    return data


def decode(data: bytes) -> Grey:
    """The pixels [H, W] of a derivative. Raises Rejected where the bytes are none."""
    try:
        pixels = jpegs.decode(data, "L", (MAX_SIDE, MAX_SIDE))
    except Rejected as refused:
        raise Rejected(Reason.DAMAGED, "The stored derivative cannot be decoded.") from refused
    assert pixels is not None  # that is for odd headers, and these are ours
    return pixels
