"""From bytes to pixels: archives, DICOM and pictures, the gate, the small derivative; with a reason when not."""

from cxrscreen.imaging.archives import File, Limits, Member
from cxrscreen.imaging.derivative import PREPROCESSING, decode, encode
from cxrscreen.imaging.facts import Facts
from cxrscreen.imaging.folders import walk
from cxrscreen.imaging.frame import Frame
from cxrscreen.imaging.gate import check
from cxrscreen.imaging.prepare import Prepared, prepare
from cxrscreen.imaging.read import frames, read
from cxrscreen.imaging.reasons import Reason, Rejected, sentence

__all__ = [
    "PREPROCESSING",
    "Facts",
    "File",
    "Frame",
    "Limits",
    "Member",
    "Prepared",
    "Reason",
    "Rejected",
    "check",
    "decode",
    "encode",
    "frames",
    "prepare",
    "read",
    "sentence",
    "walk",
]
