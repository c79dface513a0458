"""A class activation map as a picture: even steps of strength look like even steps, and weak places are clear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

LONGEST = 512  # pixels of the overlay's longer side; the page enlarges it, the map has far fewer cells
FAINT, STRONG = 0.12, 0.65  # below the one nothing is drawn, above the other the colour is whole
OPAQUE = 0.9

# Oklab (Ottosson 2020) to linear sRGB.
_TO_LMS = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _colours() -> npt.NDArray[np.uint8]:
    """256 colours (R, G, B) from a deep violet over red and orange to a pale yellow; lightness rises evenly in Oklab,
    so that the map reads the same in grey and to colour-blind eyes."""
    place = np.linspace(0.0, 1.0, 256)
    light = 0.32 + 0.62 * place
    hue = np.deg2rad(-45.0 + 150.0 * place)
    chroma = 0.20 * np.sin(np.pi * (0.12 + 0.74 * place))
    lab = np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    linear = np.clip((lab @ _TO_LMS.T) ** 3 @ _TO_RGB.T, 0.0, 1.0)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(curved * 255), dtype=np.uint8)


COLOURS = _colours()


def overlay(stored: bytes, width: int, height: int) -> Pillow.Image:
    """The RGBA picture of a stored map (height, width, then rows of uint8), in the proportions of its image.

    Raises ValueError where the bytes are no map.
    """
    if len(stored) < 3 or len(stored) != 2 + stored[0] * stored[1]:
        raise ValueError("not a heat map")
    cells = np.frombuffer(stored, np.uint8, offset=2).reshape(stored[0], stored[1])
    scale = LONGEST / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    strength = np.asarray(Pillow.fromarray(cells.astype(np.float32)).resize(size, Pillow.Resampling.BILINEAR))
    share = np.clip((strength / 255 - FAINT) / (STRONG - FAINT), 0.0, 1.0)
    alpha = OPAQUE * share * share * (3 - 2 * share)  # no edge where the map begins
    levels = np.clip(np.rint(strength), 0, 255).astype(np.uint8)
    return Pillow.fromarray(np.dstack([COLOURS[levels], np.rint(alpha * 255).astype(np.uint8)]))
