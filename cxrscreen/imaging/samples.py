"""The samples of a DICOM file held against its tags: how many there are, and of how many bits.

Where the two disagree a decoder shows something all the same: the upper half of a picture, a sheared one, one whose
bright parts are wrapped to black.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from cxrscreen.imaging import tags
from cxrscreen.imaging.reasons import Reason, Rejected
from cxrscreen.imaging.tones import TAIL

GREY = {"MONOCHROME1", "MONOCHROME2"}
# With compressed pixels also what their decoders turn into RGB by themselves.
_COLOUR, _COLOUR_PACKED = {"RGB", "YBR_FULL", "YBR_FULL_422"}, {"YBR_ICT", "YBR_RCT"}
# Bytes that writers leave behind the pixels, however small the picture.
PADDING = 128
_SEGMENTED = "SegmentedRedPaletteColorLookupTableData"


def check_kind(dataset: Dataset, photometric: str, channels: int, allocated: int, bits: int, *, packed: bool) -> None:
    """Raise Rejected for samples whose meaning is not known here."""
    colours = _COLOUR | _COLOUR_PACKED if packed else _COLOUR
    known = photometric in colours if channels == 3 else photometric in (*GREY, "PALETTE COLOR")
    if not known:
        detail = f"Photometric interpretation {photometric}." if photometric else "No photometric interpretation."
        raise Rejected(Reason.UNSUPPORTED_ENCODING, detail)
    if allocated not in (1, 8, 16) or bits > 16:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, f"{bits} bits in {allocated}.")
    if channels == 3 and tags.number(dataset, "PixelRepresentation") == 1:
        raise Rejected(Reason.UNSUPPORTED_ENCODING, "Colours with a sign.")
    if photometric == "PALETTE COLOR" and _SEGMENTED in dataset:
        # Its segments unpack to any number of colours.
        raise Rejected(Reason.UNSUPPORTED_ENCODING, "A palette in segments.")


def check_length(found: int, wanted: int, rows: int, columns: int, padding: int = PADDING) -> None:
    """Raise Rejected for fewer bytes of pixels than wanted, or for so many more that a side may have been misstated."""
    line = wanted * min(rows, columns) // (rows * columns)
    if found < wanted or found - wanted >= max(line, padding + 1):
        raise Rejected(Reason.DAMAGED, f"{found:,} bytes of pixels; its size asks for {wanted:,}.")


def of_bits(samples: NDArray[Any], bits: int, dataset: Dataset) -> NDArray[Any]:
    """The samples without what stands in their unused bits (PS3.5 8.1.1), negative ones as such.

    Old files keep overlays up there. Raises Rejected where more samples than a few dead ones are too large and no
    overlay is told of: then the stated bits are wrong, and without the others it would be another picture.
    """
    unused = 8 * samples.dtype.itemsize - bits
    if unused <= 0 or not samples.size:
        return samples
    low, high = int(samples.min()), int(samples.max())
    signed = samples.dtype.kind == "i"
    if (low, high) == (max(low, -(1 << bits - 1) if signed else 0), min(high, (1 << bits - signed) - 1)):
        return samples
    above = samples >> (bits - signed)  # of negative ones that were not filled up with their sign it is 1
    if not _has_overlay(dataset) and np.count_nonzero((above < -1) | (above > signed)) > TAIL * samples.size:
        raise Rejected(Reason.DAMAGED, f"Its samples have more than the {bits} bits that the tags declare.")
    return (samples << unused) >> unused


def _has_overlay(dataset: Dataset) -> bool:
    """Whether an overlay's bit position is one of the samples' (retired; PS3.3 C.9.2 of 2004)."""
    found = dataset.keys()
    return any(tag.group & 0xFF00 == 0x6000 and tag.elem == 0x0102 for tag in found)
