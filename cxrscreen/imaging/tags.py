"""Facts from DICOM tags, where any tag may be missing, misspelt or broken."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom import Dataset

from cxrscreen.imaging.facts import Facts, plain

_AGE = re.compile(r"(\d{1,3})\s*([YMWD]?)")
_YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}

_VIEWS = (
    ("DECUBITUS", re.compile(r"\b(DECUB\w*|[RL]LD)\b")),
    ("OBLIQUE", re.compile(r"\b(OBL\w*|[RL]LO|[RL][AP]O)\b")),
    ("LATERAL", re.compile(r"\b(LAT\w*|LL|RL)\b")),
    ("PA", re.compile(r"\b(PA|P\.A\.?|POSTERO\W?ANTERIOR|POSTEROANTERIOR)(?!\w)")),
    ("AP", re.compile(r"\b(AP|A\.P\.?|ANTERO\W?POSTERIOR|ANTEROPOSTERIOR)(?!\w)")),
)
# Row directions of the patient (PS3.3 C.7.6.1.1.1): along them a frontal picture runs left or right.
_SIDEWAYS = {"A": "LATERAL", "P": "LATERAL"}


def text(dataset: Dataset, keyword: str) -> str | None:
    """The first value of a tag as plain text; None where it is absent, empty or broken."""
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, bytes):
            return None
        if not isinstance(value, str) and isinstance(value, Iterable):
            value = next(iter(value), "")
        return plain(value)[:256] or None
    except Exception:
        return None  # one tag that cannot be read must not cost the picture


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of a tag as a number."""
    value = text(dataset, keyword)
    try:
        return float(value) if value else None
    except ValueError:
        return None


def facts(dataset: Dataset, *, rows: int, columns: int, bits: int, photometric: str, syntax: str) -> Facts:
    """Facts of a data set whose pixel module was read already."""
    date = text(dataset, "StudyDate")
    descriptions = ("StudyDescription", "SeriesDescription", "ProtocolName")
    return Facts(
        kind="dicom",
        width=columns,
        height=rows,
        bits=bits,
        photometric=photometric,
        transfer_syntax=syntax,
        sop_class=text(dataset, "SOPClassUID"),
        modality=(text(dataset, "Modality") or "").upper() or None,
        view=view(dataset),
        laterality=text(dataset, "ImageLaterality") or text(dataset, "Laterality"),
        body_part=text(dataset, "BodyPartExamined") or _meaning(dataset, "AnatomicRegionSequence"),
        age_years=age(text(dataset, "PatientAge")),
        study_uid=text(dataset, "StudyInstanceUID"),
        patient_id=text(dataset, "PatientID"),
        accession=text(dataset, "AccessionNumber"),
        study_date=date if date and re.fullmatch(r"\d{8}", date) else None,
        descriptions=tuple(found for keyword in descriptions if (found := text(dataset, keyword))),
    )


def view(dataset: Dataset) -> str | None:
    """PA, AP, LATERAL, OBLIQUE, DECUBITUS; None where the tags are silent or name several.

    ViewPosition first, then the coded view, then the patient's orientation, then the series' free text.
    """
    for stated in (text(dataset, "ViewPosition"), _meaning(dataset, "ViewCodeSequence")):
        if stated and (found := view_in(stated)):
            return found
    if found := _SIDEWAYS.get((text(dataset, "PatientOrientation") or "")[:1].upper()):
        return found
    for keyword in ("SeriesDescription", "ProtocolName"):
        if (stated := text(dataset, keyword)) and (found := view_in(stated)):
            return found
    return None


def view_in(stated: str) -> str | None:
    """The one view that a text names; None for none or several ("PA and lateral")."""
    named = [name for name, pattern in _VIEWS if pattern.search(stated.upper())]
    return named[0] if len(named) == 1 else None


def age(stated: str | None) -> float | None:
    """Years of an age such as 062Y, 18M, or the 62 that some writers give."""
    match = _AGE.fullmatch((stated or "").upper())
    if not match:
        return None
    if int(match[1]) == 0:
        return None  # what anonymisers write
    years = int(match[1]) * _YEARS[match[2]]
    return round(years, 2) if years <= 130 else None


def _meaning(dataset: Dataset, keyword: str) -> str | None:
    try:
        items = dataset.get(keyword)
        return text(items[0], "CodeMeaning") if items else None
    except Exception:
        return None
