"""The words for states and roles; kept as text, so that a new word needs no migration of a type."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    OPERATOR = "operator"  # uploads, queues, schedules
    READER = "reader"  # that, and verdicts
    ADMIN = "admin"  # that, and users, models, operating points


class JobKind(StrEnum):
    UPLOAD = "upload"
    FOLDER = "folder"
    COMMAND = "command"
    RESCREEN = "rescreen"
    NIGHTLY = "nightly"


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"  # the source could not be read at all


class EntryStatus(StrEnum):
    WAITING = "waiting"
    SCORED = "scored"
    REJECTED = "rejected"
    FAILED = "failed"
    DUPLICATE = "duplicate"
    CANCELLED = "cancelled"


class BatchState(StrEnum):
    WAITING = "waiting"
    LEASED = "leased"
    DONE = "done"


class ModelState(StrEnum):
    CANDIDATE = "candidate"
    ACTIVE = "active"
    RETIRED = "retired"


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"
    UNSURE = "unsure"
