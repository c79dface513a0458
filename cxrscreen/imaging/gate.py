"""The gate before any score: is this a frontal chest radiograph? Tags first, then what pixels can safely tell.

A wrong refusal loses a patient, so words that nobody foresaw and silent tags pass where nothing speaks against them;
but a DICOM file has to say that it is a radiograph.
"""

from __future__ import annotations

import re

import numpy as np

from cxrscreen.imaging.derivative import MAX_SIDE
from cxrscreen.imaging.facts import Facts
from cxrscreen.imaging.frame import Frame, Grey
from cxrscreen.imaging.reasons import Reason, Rejected
from cxrscreen.imaging.tones import histogram

RADIOGRAPHS = {"CR", "DX", "DR", "RG", "XR"}
# Modalities that say nothing: scanned films and exports come as these.
UNDECLARED = {None, "OT", "SC"}
RADIOGRAPH_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1",  # the same - For Processing
}
# Other examinations by their classes of object, whatever modality a file states beside it: CT, MR, ultrasound, nuclear
# medicine, PET, mammography and teeth. Classes that nobody foresaw say nothing.
OTHER_CLASSES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(2|4|3|6|20|128|130|1\.[23])(\.[\d.]+)?")
MIN_SIDE = 64
# How many times longer than wide: the network is shown what is left of the narrow side at MAX_SIDE of the long one.
MAX_ASPECT = MAX_SIDE // MIN_SIDE
# Share of coloured pixels from which a picture is no radiograph; letters, arrows and logos stay far under it.
MAX_COLOURED = 0.2
# Greys between the 0.5th and the 99.5th percentile under which a picture shows nothing.
MIN_CONTRAST = 8
# Share of pixels of one grey; collimated films are black for two thirds.
MAX_ONE_TONE = 0.97

_CHEST = re.compile(r"CHEST|THORAX|TORAX|LUNG|PULMO|\bCXR\b|POUMON|BRUST")
_SPINE = re.compile(r"SPINE|THORACIC|VERTEBRA|[CTL]SP")
# Parts of the coded vocabulary (PS3.16 CID 4031 and the defined terms of BodyPartExamined) and common misspellings.
_OTHER_PART = re.compile(
    r"EXTREM|\bARM|FOREARM|HAND|FINGER|THUMB|WRIST|ELBOW|HUMER|SHOULDER|CLAVIC|SCAPULA|STERNUM|ACJOINT|RADIUS|ULNA|"
    r"\bHIP|PELVI|FEMUR|THIGH|KNEE|PATELLA|\bLEG|LOWERLEG|TIBIA|FIBULA|ANKLE|FOOT|FEET|\bTOE|HEEL|CALCAN|SACR|COCCYX|"
    r"\bSI ?JOINT|HEAD|SKULL|BRAIN|FACE|FACIAL|NASAL|NOSE|ORBIT|SINUS|MANDIB|JAW|TMJ|TEETH|TOOTH|DENT|\bEYE|\bEAR\b|"
    r"NECK|CERVIC|LUMB|ABDOM|KUB|STOMACH|BOWEL|COLON|LIVER|KIDNEY|BLADDER|UTER|BREAST|MAMM|WHOLE ?BODY|SCOLIO"
)
# In free text only words that mean one thing: a study's description may name more than its picture shows.
_OTHER_TEXT = re.compile(
    r"\b(KNEES?|ANKLES?|FOOT|FEET|WRISTS?|HANDS?|ELBOWS?|HIPS?|PELVIS|FEMUR|TIBIA|HUMERUS|FOREARM|SKULL|ABDOMEN|KUB|"
    r"SHOULDERS?|LUMBAR|CERVICAL)\b"
)


def check(frame: Frame) -> None:
    """Raise Rejected unless a frame may be scored."""
    check_tags(frame.facts)
    check_pixels(frame, frame.display())


def check_tags(facts: Facts, least_age: float = 0) -> None:
    """What can be said before any pixel is decoded. A patient whose age is not told is not refused for it."""
    if facts.kind == "dicom":
        _check_modality(facts)
        _check_body_part(facts)
    if facts.view in ("LATERAL", "OBLIQUE", "DECUBITUS"):
        raise Rejected(Reason.NOT_FRONTAL, f"The tags say {facts.view.lower()}.")
    if facts.age_years is not None and facts.age_years < least_age:
        raise Rejected(Reason.TOO_YOUNG, f"The tags say {facts.age_years:g} years; the least is {least_age:g}.")
    if min(facts.width, facts.height) < MIN_SIDE:
        raise Rejected(Reason.TOO_SMALL, f"{facts.width} x {facts.height} pixels; the least is {MIN_SIDE}.")
    if max(facts.width, facts.height) > MAX_ASPECT * min(facts.width, facts.height):
        raise Rejected(
            Reason.TOO_SMALL, f"{facts.width} x {facts.height} pixels: a strip, of which too little is left."
        )


def check_pixels(frame: Frame, display: Grey) -> None:
    """What the pixels tell without any model; `display` is the frame's."""
    if frame.coloured > MAX_COLOURED:
        raise Rejected(Reason.COLOUR, f"{frame.coloured:.0%} of the picture is coloured.")
    counts = histogram(display)
    share = counts.cumsum() / counts.sum()
    contrast = int(np.searchsorted(share, 0.995) - np.searchsorted(share, 0.005))
    if contrast < MIN_CONTRAST:
        raise Rejected(Reason.BLANK, f"Its greys span {contrast} of 255.")
    if counts.max() / counts.sum() > MAX_ONE_TONE:
        raise Rejected(Reason.BLANK, f"{counts.max() / counts.sum():.0%} of it is of one grey.")


def _check_modality(facts: Facts) -> None:
    if OTHER_CLASSES.fullmatch(facts.sop_class or ""):
        raise Rejected(Reason.NOT_RADIOGRAPH, "The tags say a class of object that is another examination.")
    if facts.modality in RADIOGRAPHS:
        return
    if facts.modality not in UNDECLARED:
        raise Rejected(Reason.NOT_RADIOGRAPH, f"The tags say modality {facts.modality}.")
    if facts.sop_class in RADIOGRAPH_CLASSES:
        return
    said = " ".join((facts.body_part or "", *facts.descriptions)).upper()
    if facts.view not in ("PA", "AP") and not _CHEST.search(said):
        modality = f"modality {facts.modality}" if facts.modality else "no modality"
        detail = f"The file has {modality} and says nowhere that it is a chest radiograph."
        raise Rejected(Reason.NOT_RADIOGRAPH, detail)


def _check_body_part(facts: Facts) -> None:
    part = (facts.body_part or "").upper().replace("_", " ")
    if _SPINE.search(part) or (_OTHER_PART.search(part) and not _CHEST.search(part)):
        raise Rejected(Reason.NOT_CHEST, f"The tags say {facts.body_part}.")
    said = " ".join(facts.descriptions).upper()
    if not part and not _CHEST.search(said) and (other := _OTHER_TEXT.search(said)):
        raise Rejected(Reason.NOT_CHEST, f"Its description says {other[0].lower()}.")
