"""How a DICOM data set wants its samples shown: the tags behind `tones.Rendering`."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset

from cxrscreen.imaging import tags
from cxrscreen.imaging.tones import Lut, Rendering, Window

# Of the entries that a table's descriptor tells of; some writers count one too many.
LEAST_SHARE = 0.9


def rendering(dataset: Dataset, bits: int, photometric: str) -> Rendering:
    """The rendering of the grey frames of a data set; what is broken in it counts as absent."""
    signed = tags.number(dataset, "PixelRepresentation") == 1
    slope, intercept = tags.number(dataset, "RescaleSlope"), tags.number(dataset, "RescaleIntercept")
    usable = slope is not None and intercept is not None and np.isfinite([slope, intercept]).all() and slope != 0
    padding = tags.number(dataset, "PixelPaddingValue")
    return Rendering(
        bits=bits,
        signed=signed,
        inverted=photometric == "MONOCHROME1",
        slope=slope if usable and slope is not None else 1.0,
        intercept=intercept if usable and intercept is not None else 0.0,
        modality=_lut(dataset, "ModalityLUTSequence", signed),
        voi=_lut(dataset, "VOILUTSequence", signed),
        windows=_windows(dataset),
        padding=int(padding) if padding is not None and abs(padding) < 2**16 else None,
    )


def _windows(dataset: Dataset) -> list[Window]:
    centre, width = tags.number(dataset, "WindowCenter"), tags.number(dataset, "WindowWidth")
    if centre is None or width is None:
        return []
    return [Window(centre, width, (tags.text(dataset, "VOILUTFunction") or "LINEAR").upper())]


def _lut(dataset: Dataset, keyword: str, signed: bool) -> Lut | None:
    """The first table of a sequence (PS3.3 C.11.1.1, C.11.2.1.1)."""
    try:
        items = dataset.get(keyword)
        if not items:
            return None
        count, first, bits = (int(value) for value in items[0].LUTDescriptor)
        data = items[0].LUTData
        if isinstance(data, bytes):
            _, little = items[0].original_encoding
            entries = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little is not False else ">u2")
            if bits == 8 and len(entries) < (count or 65536):
                entries = np.frombuffer(data, np.uint8)
        else:
            entries = np.atleast_1d(np.asarray(data, dtype=np.int64))
        entries = entries[: count or 65536].astype(np.uint16)
        # Cut short, it would turn all that lies behind its last entry into one tone.
        cut = len(entries) < LEAST_SHARE * (count or 65536)
        if cut or len(entries) < 2 or not entries.max() > entries.min():
            return None
        # A file read as unsigned states a negative first value as its complement.
        first = first - 65536 if signed and first > 32767 else first
        return Lut(first, entries, bits)
    except Exception:
        return None
