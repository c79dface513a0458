"""The windows a viewer begins with, in the units of the stored samples (DICOM PS3.3 C.11.2.1.2, LINEAR)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscreen.imaging import Frame
from cxrscreen.imaging.tones import Window, histogram

Ints = NDArray[np.int64]

# Shares of a picture's pixels from its darkest to its brightest, by what a reader looks at: all of it, the lungs
# (dark), heart, spine and what lies behind them (bright), and the middle tones with steep contrast.
SHARES = ((0.0, 1.0), (0.02, 0.75), (0.30, 0.995), (0.15, 0.85))
# A window that shows every grey within this of the table says the same to the eye.
SAME = 1


@dataclass(frozen=True)
class Windows:
    """`window` (centre, width) comes nearest to the table that screening saw; `exact` where it is that table within
    one grey. `inverted`: low samples are white. `low` and `high` are the ends of what the picture holds, and `presets`
    the windows (centre, width) of SHARES."""

    inverted: bool
    window: tuple[float, float]
    exact: bool
    low: int
    high: int
    presets: list[tuple[float, float]]


def windows_of(frame: Frame) -> Windows:
    counts = histogram(frame.stored)
    codes = np.arange(len(counts), dtype=f"u{frame.stored.dtype.itemsize}")
    values = codes.view(frame.stored.dtype).astype(np.int64)
    order = np.argsort(values, kind="stable")
    order = order[np.flatnonzero(counts[order])[0] : np.flatnonzero(counts[order])[-1] + 1]
    values, counts, greys = values[order], counts[order], frame.tones[order].astype(np.int64)
    inverted = bool(greys[-1] < greys[0])
    rising = 255 - greys if inverted else greys
    window = _fitted(values, rising)
    told = linear(values.astype(np.float64), *window)
    return Windows(
        inverted=inverted,
        window=window,
        exact=bool(np.abs(told - rising).max() <= SAME),
        low=int(values[0]),
        high=int(values[-1]),
        presets=[between(*_ends(values, counts, dark, bright, inverted)) for dark, bright in SHARES],
    )


def linear(values: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    """Greys 0 to 255, rounded, of C.11.2.1.2.1; the viewer's shader computes the same. A width under 1 counts as 1."""
    greys = Window(centre, max(1.0, width)).apply(values)
    assert greys is not None, "only a window that is not finite has no greys"
    return np.rint(greys)


def between(low: float, high: float) -> tuple[float, float]:
    """The window under which `low` is the last black and `high` the first white."""
    return (low + high + 1) / 2, max(1.0, high - low + 1)


def _fitted(values: Ints, greys: Ints) -> tuple[float, float]:
    """The line through the greys that are neither black nor white; a step where there are none."""
    inside = (greys > 0) & (greys < 255)
    if np.count_nonzero(inside) >= 2:
        x, y = values[inside].astype(np.float64), greys[inside].astype(np.float64)
        spread = x - x.mean()
        slope = float((spread * (y - y.mean())).sum() / (spread**2).sum())
        if slope > 0:
            middle = float(x.mean() + (127.5 - y.mean()) / slope)
            return round(middle + 0.5, 3), round(max(1.0, 255 / slope + 1), 3)
    white = np.flatnonzero(greys >= 128)
    if len(white) and white[0] > 0:
        return float(values[white[0]]), 1.0
    return between(float(values[0]), float(values[-1]))


def _ends(values: Ints, counts: Ints, dark: float, bright: float, inverted: bool) -> tuple[int, int]:
    """The values below which these shares of the pixels lie."""
    if inverted:
        dark, bright = 1 - bright, 1 - dark
    share = np.cumsum(counts) / counts.sum()
    low = values[min(int(np.searchsorted(share, dark, side="right")), len(values) - 1)]
    high = values[min(int(np.searchsorted(share, bright)), len(values) - 1)]
    return int(low), int(max(low, high))
