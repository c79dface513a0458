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


class ModelPolicy(StrEnum):
    ACTIVE = "active"  # whatever people see when the night begins
    CANDIDATE = "candidate"  # the newest candidate, in shadow
    VERSION = "version"  # one that is named


class NightState(StrEnum):
    OPEN = "open"  # its job is at work
    PAUSED = "paused"  # its window ended before its job; the next window goes on with it
    DONE = "done"
    FAILED = "failed"  # could not begin, or its job failed: `reason` says why
    MISSED = "missed"  # nothing ran at its hour, or the run before it was in the way


class Band(StrEnum):
    GATHERING = "gathering"  # too few results for a judgement
    STEADY = "steady"
    WATCH = "watch"
    ALERT = "alert"


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"
    UNSURE = "unsure"


class Way(StrEnum):
    SINGLE = "single"  # one reader's word
    AGREED = "agreed"  # two read it blind and said the same
    ADJUDICATED = "adjudicated"  # two differed, a third decided


class Draw(StrEnum):
    SAMPLE = "sample"  # not flagged, and read all the same
    MASKED = "masked"  # flagged, and read without the model's answer, so that a hidden answer tells nothing
