"""Work: what was asked for, what it found, and who does it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, Key, now
from cxrscreen.tables.words import BatchState, EntryStatus, JobKind, JobState, ModelPolicy, NightState


class Upload(Base):
    __tablename__ = "uploads"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)  # as the person's machine called it
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    removed_at: Mapped[datetime | None]  # from the store, with a study that came in it or by `clearing`


class Schedule(Base):
    """When, how long, over what and with which version the archive is read again."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    cron: Mapped[str] = mapped_column(String(100))  # five fields, in the zone below
    timezone: Mapped[str] = mapped_column(String(64))
    window_from: Mapped[str | None] = mapped_column(String(5))  # HH:MM; none: a run goes on until it is done
    window_until: Mapped[str | None] = mapped_column(String(5))
    scope: Mapped[dict[str, Any]] = mapped_column(default=dict)  # as `Job.scope`, and {"folder": path}
    policy: Mapped[ModelPolicy] = mapped_column(default=ModelPolicy.ACTIVE, server_default="active")
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))  # of the policy "version"
    rate: Mapped[int | None]  # images a minute at most
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    armed_at: Mapped[datetime] = mapped_column(default=now)  # of the last change of its hours; earlier ones are none


class WatchedFile(Base):
    """A file of a watched folder that was taken, so that it is new only once. No name is kept, just hashes."""

    __tablename__ = "watched_files"

    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True)
    folder: Mapped[str] = mapped_column(String(32), primary_key=True)  # of the folder the file lies in
    file: Mapped[str] = mapped_column(String(32), primary_key=True)
    stamp: Mapped[str] = mapped_column(String(80))  # size and time of change, or an object's tag; another is new
    job_id: Mapped[int] = mapped_column(Key)  # that took it


class Night(Base):
    """One window of a schedule, whatever came of it. The unique (schedule, window) makes a second beat harmless."""

    __tablename__ = "nights"
    __table_args__ = (UniqueConstraint("schedule_id", "window"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id", ondelete="CASCADE"))
    window: Mapped[str] = mapped_column(String(32))  # when it began on the wall: ISO date and time to the minute
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]  # of the window; none: until the job is done
    state: Mapped[NightState]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    opened_at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("schedule_id", "window"),  # a second beat opens no second night
        Index("ix_jobs_state_priority", "state", "priority"),
        Index("ix_jobs_finished_at", "finished_at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    kind: Mapped[JobKind]
    state: Mapped[JobState] = mapped_column(default=JobState.WAITING)
    priority: Mapped[int] = mapped_column(default=5)  # higher goes first
    title: Mapped[str] = mapped_column(Text)
    # [{"path": ..., "label": ...}] or [{"upload": id, "label": ...}]; empty for a rescreen. `clearing` adds to these.
    sources: Mapped[list[Any]]
    # Of a rescreen: {"since": ISO date, "job": id, "flagged": bool}, each left out where it does not count.
    scope: Mapped[dict[str, Any]] = mapped_column(default=dict)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    schedule_id: Mapped[int | None] = mapped_column(ForeignKey("schedules.id"))
    window: Mapped[str | None] = mapped_column(String(32))  # of the night that opened it
    rate: Mapped[int | None]  # images a minute at most
    held_until: Mapped[datetime | None]  # no batch is claimed before, to keep that rate
    listed: Mapped[bool] = mapped_column(default=False)  # every entry of the sources is a row
    error: Mapped[str | None] = mapped_column(Text)
    # The lease of the ingest; a screening batch has its own.
    lease_until: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]  # when an ingest last took it
    worker: Mapped[str | None] = mapped_column(String(100))
    attempts: Mapped[int] = mapped_column(default=0)  # claims since the last progress
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Batch(Base):
    """The unit of work of a screening worker; a claim is a compare-and-set on (state, lease_until)."""

    __tablename__ = "batches"
    __table_args__ = (
        Index("ix_batches_state_lease_until", "state", "lease_until"),
        Index("ix_batches_job_id_state_id", "job_id", "state", "id"),
        Index("ix_batches_job_id_claimed_at", "job_id", "claimed_at"),
        Index("ix_batches_job_id_finished_at", "job_id", "finished_at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    state: Mapped[BatchState] = mapped_column(default=BatchState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)  # claims so far; only a death adds a second
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=now)
    claimed_at: Mapped[datetime | None]  # the last time; whose turn it is follows from it
    finished_at: Mapped[datetime | None]


class Entry(Base):
    """What a job found: a leaf file, a member, a frame of one, or an archive that cannot be opened."""

    __tablename__ = "entries"
    __table_args__ = (
        UniqueConstraint("job_id", "name", "frame"),
        Index("ix_entries_job_id_status", "job_id", "status"),
        Index("ix_entries_job_id_image_id", "job_id", "image_id"),
        Index("ix_entries_job_id_sha256", "job_id", "sha256"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    frame: Mapped[int] = mapped_column(default=0)
    frames: Mapped[int] = mapped_column(default=1)  # of the file
    status: Mapped[EntryStatus] = mapped_column(default=EntryStatus.WAITING)
    sha256: Mapped[str | None] = mapped_column(String(64))
    image_id: Mapped[int | None] = mapped_column(ForeignKey("images.id", ondelete="SET NULL"), index=True)
    duplicate_of: Mapped[int | None] = mapped_column(ForeignKey("entries.id", ondelete="CASCADE"))
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batches.id"), index=True)
    attempts: Mapped[int] = mapped_column(default=0)  # times an ingest began to read it


class Rejection(Base):
    """Why an entry was rejected or failed: one reason of the fixed list and what was seen."""

    __tablename__ = "rejections"
    __table_args__ = (Index("ix_rejections_reason_entry_id", "reason", "entry_id"),)  # of the quarantine

    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    image_id: Mapped[int | None] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    reason: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class Worker(Base):
    """A heartbeat. A busy solo worker answers no ping, so health is read here."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    pid: Mapped[int]
    doing: Mapped[str] = mapped_column(Text, default="")
    done: Mapped[int] = mapped_column(default=0)  # batches since it started
    last_error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
