"""The tables and their words; no behaviour. The legal changes of state live in the modules named after the nouns."""

from cxrscreen.tables.archive import Image, Result, Study, StudyResult
from cxrscreen.tables.base import Base, Key, UtcDateTime, midnight, now
from cxrscreen.tables.counts import JobCount
from cxrscreen.tables.features import Feature
from cxrscreen.tables.keeping import Condemned, KeyMark, StoreMark
from cxrscreen.tables.people import ApiToken, AuditEvent, SavedFilter, SignInLink, User
from cxrscreen.tables.reading import Reading, Review
from cxrscreen.tables.versions import Activation, Alert, Drift, ModelVersion, OperatingPoint
from cxrscreen.tables.words import (
    Band,
    BatchState,
    Draw,
    EntryStatus,
    JobKind,
    JobState,
    ModelPolicy,
    ModelState,
    NightState,
    Role,
    Verdict,
    Way,
)
from cxrscreen.tables.work import Batch, Entry, Job, Night, Rejection, Schedule, Upload, WatchedFile, Worker

__all__ = [
    "Activation",
    "Alert",
    "ApiToken",
    "AuditEvent",
    "Band",
    "Base",
    "Batch",
    "BatchState",
    "Condemned",
    "Draw",
    "Drift",
    "Entry",
    "EntryStatus",
    "Feature",
    "Image",
    "Job",
    "JobCount",
    "JobKind",
    "JobState",
    "Key",
    "KeyMark",
    "ModelPolicy",
    "ModelState",
    "ModelVersion",
    "Night",
    "NightState",
    "OperatingPoint",
    "Reading",
    "Rejection",
    "Result",
    "Review",
    "Role",
    "SavedFilter",
    "Schedule",
    "SignInLink",
    "StoreMark",
    "Study",
    "StudyResult",
    "Upload",
    "User",
    "UtcDateTime",
    "Verdict",
    "WatchedFile",
    "Way",
    "Worker",
    "midnight",
    "now",
]
