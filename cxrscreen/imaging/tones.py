"""From stored values to greys: modality LUT, VOI LUT, window, percentiles (DICOM PS3.3 C.11.1 and C.11.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrscreen.imaging.frame import Grey, Stored, codes_of, strips

Values = NDArray[np.float64]

# Shares of the histogram that percentile scaling leaves outside: burnt-in letters and dead pixels.
TAIL = 0.005
# A window under which the picture keeps fewer greys than this was left beside pixels it does not belong to.
LEAST_GREYS = 16
# A window that spans fewer codes makes more than one grey of a code's rounding.
GENTLE = 255


@dataclass(frozen=True)
class Lut:
    """A lookup table: entry i stands for the input `first` + i; inputs outside take the nearest entry."""

    first: int
    entries: NDArray[np.uint16]
    bits: int

    def apply(self, values: Values) -> Values:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[index], dtype=np.float64)

    def top(self) -> float:
        """The output that means white. Some writers state 16 bits and fill ten, so the entries have the last word."""
        needed = max(1, int(self.entries.max()).bit_length())
        return float(2 ** min(needed, self.bits if self.bits >= needed else 16) - 1)


@dataclass(frozen=True)
class Window:
    """A window, in the units of the modality LUT's output."""

    centre: float
    width: float
    function: str = "LINEAR"

    def apply(self, values: Values) -> Values | None:
        """Greys 0 to 255 before rounding; None where the standard forbids such a window."""
        if not np.isfinite([self.centre, self.width]).all() or self.width <= 0:
            return None
        if self.function == "SIGMOID":
            power = np.clip(-4 * (values - self.centre) / self.width, -700, 700)
            return np.asarray(255 / (1 + np.exp(power)))
        if self.function == "LINEAR_EXACT":
            share = (values - self.centre) / self.width + 0.5
        elif self.width < 1:
            return None
        elif self.width == 1:
            share = (values > self.centre - 0.5).astype(np.float64)
        else:
            share = (values - (self.centre - 0.5)) / (self.width - 1) + 0.5
        return np.asarray(np.clip(share, 0, 1) * 255)


@dataclass(frozen=True)
class Rendering:
    """How a DICOM file wants its samples shown."""

    bits: int
    signed: bool = False
    inverted: bool = False  # MONOCHROME1: low values are white
    slope: float = 1.0
    intercept: float = 0.0
    modality: Lut | None = None
    voi: Lut | None = None
    windows: Sequence[Window] = ()
    padding: int | None = None

    def linear(self) -> bool:
        """Whether the mean of samples has, but for rounding, the mean of their greys."""
        gentle = (
            window.function != "SIGMOID" and window.width >= GENTLE * abs(self.slope) for window in self.windows[:1]
        )
        return self.modality is None and self.voi is None and self.padding is None and self.bits >= 8 and all(gentle)

    def tones(self, stored: Stored, whole: Stored | None = None) -> Grey:
        """The grey of each code a sample of `stored` can have; inverted last, as PS3.3 C.7.6.3.1.2 puts it.

        Where `stored` is a smaller picture of `whole`, only that one's extremes are the true ones.
        """
        counts = histogram(stored, self.padding)
        values = self._values(stored.dtype)
        greys = next((grey for grey in self._proposals(values) if _greys_kept(grey, counts) >= LEAST_GREYS), None)
        if greys is None:
            greys = self._unwindowed(values, counts if whole is None else histogram(whole, self.padding))
        return 255 - greys if self.inverted else greys

    def _values(self, dtype: np.dtype[np.generic]) -> Values:
        """The modality LUT's output for each code."""
        codes = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
        values = codes.view(dtype).astype(np.float64)
        if self.modality:
            return self.modality.apply(values)
        return values * self.slope + self.intercept

    def _proposals(self, values: Values) -> list[Grey]:
        proposals = []
        if self.voi:
            proposals.append(self.voi.apply(values) * (255 / self.voi.top()))
        proposals += [grey for window in self.windows[:1] if (grey := window.apply(values)) is not None]
        return [np.rint(np.clip(grey, 0, 255)).astype(np.uint8) for grey in proposals]

    def _unwindowed(self, values: Values, counts: NDArray[np.int64]) -> Grey:
        if self.bits <= 8 and self.modality is None:
            low, high = (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1) if self.signed else (0, 2**self.bits - 1)
            ends = sorted((low * self.slope + self.intercept, high * self.slope + self.intercept))
            return stretch(values, *ends)
        return stretch(values, *percentiles(values, counts))


def stretch(values: Values, low: float, high: float) -> Grey:
    """Greys 0 to 255 of values, `low` and below black, `high` and above white."""
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def percentiles(values: Values, counts: NDArray[np.int64]) -> tuple[float, float]:
    """The values between which all but the two tails of a histogram lie; its ends where that leaves one value only."""
    seen = np.flatnonzero(counts)
    order = seen[np.argsort(values[seen], kind="stable")]
    if not len(order):
        return 0.0, 0.0
    share = np.cumsum(counts[order]) / counts.sum()
    low = values[order[int(np.searchsorted(share, TAIL))]]
    high = values[order[min(int(np.searchsorted(share, 1 - TAIL)), len(order) - 1)]]
    if high <= low:
        low, high = values[order[0]], values[order[-1]]
    return float(low), float(high)


def of_picture(stored: Stored) -> Grey:
    """Tones of a picture file: 8 bit as it is, 16 bit between its percentiles."""
    codes = np.arange(2 ** (8 * stored.dtype.itemsize))
    if stored.dtype.itemsize == 1:
        return codes.astype(np.uint8)
    values = codes.astype(np.float64)
    return stretch(values, *percentiles(values, histogram(stored)))


def shrunk(stored: Stored, most: int) -> Stored:
    """The samples averaged over squares, as large as leave no side under `most`; at the far edges the last one counts
    for those that a square lacks."""
    side = min(stored.shape) // most
    if side < 2:
        return stored
    rows, columns = (-(-length // side) for length in stored.shape)
    lacking = (rows * side - stored.shape[0], columns * side - stored.shape[1])
    padded: NDArray[Any] = np.pad(stored, ((0, lacking[0]), (0, lacking[1])), mode="edge") if any(lacking) else stored
    lines = padded.reshape(rows, side, -1)
    wide = lines[:, 0].astype(np.int32)
    for place in range(1, side):  # whole lines at a time; numpy's own sum goes square by square
        wide += lines[:, place]
    total = wide[:, ::side].copy()
    for place in range(1, side):
        total += wide[:, place::side]
    mean: Stored = ((total + side * side // 2) // (side * side)).astype(stored.dtype)
    return mean


def histogram(stored: Stored, padding: int | None = None) -> NDArray[np.int64]:
    """Pixels for each code, those of the padding value left out unless there is nothing else."""
    codes = codes_of(stored)
    bins = 2 ** (8 * codes.dtype.itemsize)
    if bins == 256:
        # Pillow counts bytes as they are; numpy would widen each to 64 bits first.
        counts = np.array(Image.fromarray(codes).histogram(), dtype=np.int64)
    else:
        counts = np.zeros(bins, dtype=np.int64)
        for rows in strips(codes.shape):
            counts += np.bincount(codes[rows].ravel(), minlength=bins)
    if padding is not None:
        kept = counts.copy()
        kept[padding % bins] = 0
        if kept.any():
            return kept
    return counts


def _greys_kept(greys: Grey, counts: NDArray[np.int64]) -> int:
    """Between which greys the bulk of the picture lies; a picture of one tone cannot be hurt by any window."""
    if np.count_nonzero(counts) < LEAST_GREYS:
        return LEAST_GREYS
    low, high = percentiles(greys.astype(np.float64), counts)
    # A window of one code has black and white at its ends, and nothing between.
    return min(int(high - low), len(np.unique(greys[counts > 0])))
