"""Tells a copy from a look-alike by its fine structure: ribs and vessels, not the masses that every chest shares."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from models.images import Pixels
from models.indexes.rows import Row
from models.loading import pictures

Map = npt.NDArray[np.float32]
SIDE = 96
# Widths of the Gaussians between which the structure lies, and steps by which a copy may be shifted, in pixels of SIDE.
FINE, ROUGH, SHIFT = 0.8, 3.0, 4
# Maps held while pairs are compared; 36 KB each.
HELD = 512


def detail(pixels: Pixels) -> Map:
    """Structure [96, 96] of a picture (H, W) uint8, its contrast levelled from place to place."""
    small = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    band = gaussian_filter(small, FINE) - gaussian_filter(small, ROUGH)
    return np.asarray(band / (np.sqrt(gaussian_filter(band * band, 2 * ROUGH)) + 1), np.float32)


def agreement(one: Map, other: Map) -> float:
    """The best correlation, -1 to 1, of the inner part of one with the other shifted by up to SHIFT pixels."""
    inner = SIDE - 2 * SHIFT
    core = _levelled(one[SHIFT:-SHIFT, SHIFT:-SHIFT])
    shifts = range(2 * SHIFT + 1)
    return max(float((core * _levelled(other[y : y + inner, x : x + inner])).sum()) for y in shifts for x in shifts)


def _levelled(part: Map) -> Map:
    centred = part - part.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-9), np.float32)


def agreements(rows: Sequence[Row], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Of each pair of positions. The pictures are read again: nothing large is held for those without a pair."""

    @lru_cache(maxsize=HELD)
    def structure(position: int) -> Map:
        return detail(next(pictures([rows[position]], 1))[1])

    return [agreement(structure(first), structure(second)) for first, second in pairs]
