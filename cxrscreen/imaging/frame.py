"""One picture: its pixels as stored, and the one way they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrscreen.imaging.facts import Facts

Grey = NDArray[np.uint8]
Stored = NDArray[np.uint8] | NDArray[np.int8] | NDArray[np.uint16] | NDArray[np.int16]

IDENTITY = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True)
class Frame:
    """Frame `index` of `count` in its file.

    `stored` [H, W] holds the samples before any windowing, 8 or 16 bit. `tones` maps each of the 256 or 65,536 codes a
    sample can have (a signed one read as unsigned) to its grey from 0, black, to 255. `coloured` is the share of
    pixels, 0 to 1, that no grey or evenly tinted picture has; `stored` is then the luminance.
    """

    index: int
    count: int
    facts: Facts
    stored: Stored
    tones: Grey
    coloured: float = 0.0

    def display(self) -> Grey:
        """The picture [H, W] as everything here sees it: windowed, 8 bit, bone white."""
        codes = codes_of(self.stored)
        if codes.dtype == np.uint8 and np.array_equal(self.tones, IDENTITY):
            return codes.view(np.uint8)
        grey = np.empty(codes.shape, np.uint8)
        for rows in strips(codes.shape):
            # There is a tone for each code: nothing is clipped, and numpy need not look whether it would be.
            np.take(self.tones, codes[rows], out=grey[rows], mode="clip")
        return grey


def codes_of(stored: Stored) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The samples as the unsigned numbers that `tones` counts by; no copy."""
    return stored.view(np.uint8) if stored.dtype.itemsize == 1 else stored.view(np.uint16)


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of a picture, a few at a time: numpy widens whatever is looked up or counted to 64 bits, and what stays in
    the processor's cache costs half."""
    step = max(1, (1 << 18) // max(1, shape[1]))
    for top in range(0, shape[0], step):
        yield slice(top, top + step)
