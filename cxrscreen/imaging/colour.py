"""Grey from colour, and how much true colour a picture has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxrscreen.imaging.frame import Grey

# How far, of 255, red or blue lies from what the picture's own tint predicts before a pixel counts as coloured.
LEAST_CHROMA = 40
SAMPLE_SIDE = 512


def luminance(rgb: NDArray[np.uint8]) -> Grey:
    """ITU-R BT.601 luma [H, W] of [H, W, 3]: equal channels keep their value."""
    grey = np.empty(rgb.shape[:2], np.uint8)
    weights = np.array([299, 587, 114], np.uint32)
    for top in range(0, len(rgb), 256):  # a strip at a time, as 32 bits of the whole would be large
        grey[top : top + 256] = (rgb[top : top + 256].astype(np.uint32) @ weights + 500) // 1000
    return grey


def coloured_share(rgb: NDArray[np.uint8]) -> float:
    """The share of pixels, 0 to 1, whose colour differs from the picture's overall tint.

    A scanned blue film is as monochrome as a grey one: its red and blue follow from its green. What does not follow
    is colour: a letter in the margin is little of it, a photograph much.
    """
    step = max(1, max(rgb.shape[:2]) // SAMPLE_SIDE)  # every step-th pixel is sample enough
    pixels = rgb[::step, ::step].reshape(-1, 3).astype(np.float64)
    green = pixels[:, 1] - pixels[:, 1].mean()
    spread = float(green @ green)
    coloured = np.zeros(len(pixels), bool)
    for channel in (0, 2):
        other = pixels[:, channel] - pixels[:, channel].mean()
        slope = float(green @ other) / spread if spread > 0 else 0.0
        coloured |= np.abs(other - slope * green) > LEAST_CHROMA
    return float(coloured.mean())
