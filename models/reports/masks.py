"""Takes away what a mask is meant to take away, by rules that look at no label: for the audits.

The rules are crude on purpose and the same for every picture. An outline of the lungs would follow the disease (a white
lung is hard to find), and its shape would then tell the label that the audit wants hidden.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.images import Pixels

Mask = npt.NDArray[np.bool_]

# Shares of width and height. Each lung has its box, from the apex to below the diaphragm; between them a strip of the
# mediastinum stays, and with it the shoulders, the abdomen and the edge.
LUNGS = ((0.05, 0.44), (0.56, 0.95))
LUNG_ROWS = (0.06, 0.84)
FRAME = 0.08
# A letter is smaller than this share of the longer side, in height and in width, and differs from what surrounds it by
# so many greys; a line of letters grows together before it is measured, up to LINE.
LETTER, LINE, STEP = 0.07, 0.45, 45
# Where text is looked for: the outer part of the picture, so that ribs and vessels are left alone.
BAND = 0.22


def lungs(pixels: Pixels) -> Mask:
    """Where the lungs are in most frontal pictures: two boxes, bool (H, W)."""
    height, width = pixels.shape
    mask = np.zeros((height, width), dtype=bool)
    rows = slice(round(LUNG_ROWS[0] * height), round(LUNG_ROWS[1] * height))
    for left, right in LUNGS:
        mask[rows, round(left * width) : round(right * width)] = True
    return mask


def inside(pixels: Pixels) -> Mask:
    """All but a frame of FRAME of each side, bool (H, W)."""
    height, width = pixels.shape
    mask = np.zeros((height, width), dtype=bool)
    top, side = max(1, round(FRAME * height)), max(1, round(FRAME * width))
    mask[top : height - top, side : width - side] = True
    return mask


def text(pixels: Pixels) -> Mask:
    """Small things near the edge that stand out, bright or dark: letters, dates, side markers, arrows. bool (H, W)."""
    height, width = pixels.shape
    longer = max(height, width)
    reach = max(3, round(LETTER * longer / 2)) | 1
    greys = pixels.astype(np.int16)
    bright = greys - ndimage.grey_opening(greys, size=(reach, reach)) > STEP
    dark = ndimage.grey_closing(greys, size=(reach, reach)) - greys > STEP
    mask = np.zeros((height, width), dtype=bool)
    for found in (bright, dark):
        # Letters of one word touch after this; a word is then judged as a whole.
        near = ndimage.binary_dilation(found, iterations=max(1, round(0.006 * longer)))
        labels, _ = ndimage.label(near, structure=np.ones((3, 3), dtype=int))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            tall, wide = box[0].stop - box[0].start, box[1].stop - box[1].start
            if min(tall, wide) > 1.8 * LETTER * longer or max(tall, wide) > LINE * longer:
                continue
            if not _outer(box, height, width):
                continue
            own = labels[box] == number
            # A straight hair of a line is the film's edge or a tube; a letter fills some of its box.
            if (found[box] & own).sum() < 0.12 * tall * wide or min(tall, wide) < 4:
                continue
            mask[box] |= own
    return np.asarray(ndimage.binary_dilation(mask, iterations=max(1, round(0.004 * longer))))


def black(pixels: Pixels, mask: Mask) -> Pixels:
    """The picture (H, W) with the mask in black."""
    return np.where(mask, np.uint8(0), pixels)


def grey(pixels: Pixels, mask: Mask) -> Pixels:
    """The picture (H, W) with the mask in middle grey.

    Where next to all is taken, black would be so strange to a network that even one which reads a marker in the corner
    falls silent: tried on phantoms with such a marker, 0.43 to 0.52 in black and 0.99 to 1 in grey, without the marker
    0.44 to 0.57 in both.
    """
    return np.where(mask, np.uint8(128), pixels)


def paint_over(pixels: Pixels, mask: Mask) -> Pixels:
    """The picture (H, W) with the mask filled from what surrounds it: the nearest pixel outside, smoothed."""
    if not mask.any() or mask.all():
        return pixels
    rows, columns = ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True)
    spread = pixels[rows, columns].astype(np.float32)
    smooth = ndimage.gaussian_filter(spread, 3.0, truncate=2.0)
    return np.where(mask, np.rint(smooth).astype(np.uint8), pixels)


# What each audit shows the network instead of the picture.
AUDITS: dict[str, tuple[Callable[[Pixels], Mask], Callable[[Pixels, Mask], Pixels]]] = {
    "lungs_removed": (lungs, black),
    "border_only": (inside, grey),
    "text_painted": (text, paint_over),
}


def apply(name: str, pixels: Pixels) -> tuple[Pixels, float]:
    """The picture as audit `name` leaves it, and the share of it that was taken away."""
    find, hide = AUDITS[name]
    mask = find(pixels)
    return hide(pixels, mask), float(mask.mean())


def _outer(box: tuple[slice, slice], height: int, width: int) -> bool:
    y, x = ((part.start + part.stop) / 2 for part in box)
    return bool(min(y, height - y) < BAND * height or min(x, width - x) < BAND * width)
