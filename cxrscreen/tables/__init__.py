"""The tables and their words; no behaviour. The legal changes of state live in the modules named after the nouns."""

from cxrscreen.tables.archive import Image, Result, Review, Study, StudyResult
from cxrscreen.tables.base import Base, Key, UtcDateTime, now
from cxrscreen.tables.people import AuditEvent, SavedFilter, SignInLink, User
from cxrscreen.tables.versions import ModelVersion, OperatingPoint
from cxrscreen.tables.words import BatchState, EntryStatus, JobKind, JobState, ModelState, Role, Verdict
from cxrscreen.tables.work import Batch, Entry, Job, Rejection, Schedule, Upload, Worker

__all__ = [
    "AuditEvent",
    "Base",
    "Batch",
    "BatchState",
    "Entry",
    "EntryStatus",
    "Image",
    "Job",
    "JobKind",
    "JobState",
    "Key",
    "ModelState",
    "ModelVersion",
    "OperatingPoint",
    "Rejection",
    "Result",
    "Review",
    "Role",
    "SavedFilter",
    "Schedule",
    "SignInLink",
    "Study",
    "StudyResult",
    "Upload",
    "User",
    "UtcDateTime",
    "Verdict",
    "Worker",
    "now",
]
