"""The tables and their words; no behaviour. The legal changes of state live in the modules named after the nouns."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


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


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in and out; SQLite, which knows no zones, holds them as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _words(kind: type[StrEnum]) -> Enum:
    """A column of one of the words above, kept as text: a new word needs no migration of a native type."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda words: [word.value for word in words])


def now() -> datetime:
    return datetime.now(UTC)


def _beside(column: str) -> dict[str, Any]:
    """Columns that PostgreSQL keeps in an index without sorting by them: filters are answered without the table."""
    return {"postgresql_include": [column, "verdict", "reader_id", "label", "subclass"]}


_CURRENT: dict[str, Any] = {f"{dialect}_where": text("superseded_at IS NULL") for dialect in ("postgresql", "sqlite")}
_WHERE_READ: dict[str, Any] = {
    f"{dialect}_where": text("reader_id IS NOT NULL") for dialect in ("postgresql", "sqlite")
}


# SQLite counts up by itself only in a column whose type is spelled INTEGER.
Key = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        bytes: LargeBinary(),
        Role: _words(Role),
        JobKind: _words(JobKind),
        JobState: _words(JobState),
        EntryStatus: _words(EntryStatus),
        BatchState: _words(BatchState),
        ModelState: _words(ModelState),
        Verdict: _words(Verdict),
    }


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    role: Mapped[Role]
    password_hash: Mapped[str | None] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime | None]


class SignInLink(Base):
    """A link that signs in once; only the hash of its secret is kept."""

    __tablename__ = "sign_in_links"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Upload(Base):
    __tablename__ = "uploads"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)  # as the person's machine called it
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)


class ModelVersion(Base):
    """A bundle in the store. `record` is its JSON record, whole."""

    __tablename__ = "model_versions"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[ModelState] = mapped_column(default=ModelState.CANDIDATE)
    phantom: Mapped[bool] = mapped_column(default=False)  # trained on synthetic pictures: never for people
    record: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    activated_at: Mapped[datetime | None]


class OperatingPoint(Base):
    """A threshold of a model version, with who set it; the newest row counts."""

    __tablename__ = "operating_points"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    threshold: Mapped[float]
    set_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    set_at: Mapped[datetime] = mapped_column(default=now)
    note: Mapped[str] = mapped_column(Text, default="")


class Schedule(Base):
    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    at: Mapped[str] = mapped_column(String(5))  # HH:MM in the zone below
    timezone: Mapped[str] = mapped_column(String(64))
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("schedule_id", "window"),  # a second beat opens no second night
        Index("ix_jobs_state_priority", "state", "priority"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    kind: Mapped[JobKind]
    state: Mapped[JobState] = mapped_column(default=JobState.WAITING)
    priority: Mapped[int] = mapped_column(default=5)  # higher goes first
    title: Mapped[str] = mapped_column(Text)
    sources: Mapped[list[Any]]  # [{"path": ..., "label": ...}] or [{"upload": id}]; empty for a rescreen
    scope: Mapped[dict[str, Any]] = mapped_column(default=dict)  # of a rescreen: {"since": ISO date}
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    schedule_id: Mapped[int | None] = mapped_column(ForeignKey("schedules.id"))
    window: Mapped[str | None] = mapped_column(String(32))  # the local date the night began
    listed: Mapped[bool] = mapped_column(default=False)  # every entry of the sources is a row
    error: Mapped[str | None] = mapped_column(Text)
    # The lease of the ingest; a screening batch has its own.
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(100))
    attempts: Mapped[int] = mapped_column(default=0)  # claims since the last progress
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Batch(Base):
    """The unit of work of a screening worker; a claim is a compare-and-set on (state, lease_until)."""

    __tablename__ = "batches"
    __table_args__ = (Index("ix_batches_state_lease_until", "state", "lease_until"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    state: Mapped[BatchState] = mapped_column(default=BatchState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)  # claims so far; only a death adds a second
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class Study(Base):
    """A DICOM study, or one picture that has no tags. `key` makes it one row however often it comes in."""

    __tablename__ = "studies"
    # Operators of patterns: a prefix is found by its index whatever the database's collation.
    __table_args__ = tuple(
        Index(f"ix_studies_{name}", name, postgresql_ops={name: "text_pattern_ops"}, postgresql_include=["id"])
        for name in ("patient", "accession", "label")
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    key: Mapped[str] = mapped_column(String(80), unique=True)
    patient: Mapped[str | None] = mapped_column(String(80))  # pseudonym unless the setting says so
    accession: Mapped[str | None] = mapped_column(String(80))
    study_date: Mapped[str | None] = mapped_column(String(8))
    label: Mapped[str] = mapped_column(Text)  # what people see in lists
    created_at: Mapped[datetime] = mapped_column(default=now)


class Image(Base):
    """One frame of an instance or one picture file, known by its bytes."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("sha256", "frame"),
        Index("ix_images_study_id_id", "study_id", "id"),  # the images of a study without their rows
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    sha256: Mapped[str] = mapped_column(String(64))  # of the file the frame stands in
    frame: Mapped[int] = mapped_column(default=0)
    frames: Mapped[int] = mapped_column(default=1)  # of the file, those that were refused too
    name: Mapped[str] = mapped_column(Text)  # of the entry that brought it first
    path: Mapped[str | None] = mapped_column(Text)  # a file of a server folder that was not copied
    derivative: Mapped[str] = mapped_column(String(64))  # SHA-256 of the small 8-bit picture in the store
    width: Mapped[int]
    height: Mapped[int]
    facts: Mapped[dict[str, Any]]  # modality, view, bits, photometric ...; nothing that names a person
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)


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
    image_id: Mapped[int | None] = mapped_column(ForeignKey("images.id", ondelete="SET NULL"))
    duplicate_of: Mapped[int | None] = mapped_column(ForeignKey("entries.id", ondelete="CASCADE"))
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batches.id"), index=True)
    attempts: Mapped[int] = mapped_column(default=0)  # times an ingest began to read it


class Rejection(Base):
    """Why an entry was rejected or failed: one reason of the fixed list and what was seen."""

    __tablename__ = "rejections"

    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    image_id: Mapped[int | None] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    reason: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


class Result(Base):
    """One model version's answer on one image."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("image_id", "model_version_id"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    label: Mapped[str] = mapped_column(String(40))
    subclass: Mapped[str] = mapped_column(String(60))
    score: Mapped[float]  # P(COVID-19)
    probabilities: Mapped[dict[str, Any]]  # subclass -> probability; a class is the sum of its own
    distance: Mapped[float | None]  # to the nearest training subclass
    preprocessing: Mapped[str] = mapped_column(String(40))
    heat: Mapped[bytes | None]  # class activation map: height and width as bytes, then one byte a cell
    created_at: Mapped[datetime] = mapped_column(default=now)


class StudyResult(Base):
    """The highest score of a study's images under one model version: what a line of the worklist stands on.

    The current verdict, its reader and the study's date are copied here, so that one index answers a page however many
    studies were read already; `studies.refresh` and `studies.review` write the copies while they hold the study's row.
    """

    __tablename__ = "study_results"
    __table_args__ = (
        UniqueConstraint("study_id", "model_version_id"),
        # One index a sort, the columns that filters ask for beside it; and one for each filter that few rows pass.
        Index("ix_study_results_by_score", "model_version_id", "score", "study_id", **_beside("updated_at")),
        Index("ix_study_results_by_time", "model_version_id", "updated_at", "study_id", **_beside("score")),
        Index("ix_study_results_by_date", "model_version_id", "study_date", "study_id", **_beside("score")),
        Index(
            "ix_study_results_by_verdict",
            *("model_version_id", "verdict", "score", "study_id"),
            postgresql_include=["updated_at", "label", "subclass"],
        ),
        Index(
            "ix_study_results_by_subclass",
            *("model_version_id", "subclass", "score", "study_id"),
            postgresql_include=["verdict"],
        ),
        Index("ix_study_results_by_reader", "model_version_id", "reader_id", "score", "study_id", **_WHERE_READ),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    label: Mapped[str] = mapped_column(String(40))
    subclass: Mapped[str] = mapped_column(String(60))
    score: Mapped[float]
    images: Mapped[int]  # how many were scored
    updated_at: Mapped[datetime] = mapped_column(default=now)
    verdict: Mapped[Verdict | None]  # of the current review
    reader_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))  # who gave it
    study_date: Mapped[str] = mapped_column(String(8), default="", server_default="")  # empty where none is kept


class Review(Base):
    """A person's verdict. A new one replaces the old, which stays: `superseded_at` tells when."""

    __tablename__ = "reviews"
    __table_args__ = (Index("ix_reviews_current", "study_id", **_CURRENT),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))  # that was shown
    verdict: Mapped[Verdict]
    comment: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    superseded_at: Mapped[datetime | None]


class SavedFilter(Base):
    """A worklist that a person named: the filters and the sort, as they stand in its address."""

    __tablename__ = "saved_filters"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(60))
    query: Mapped[str] = mapped_column(Text)
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


class AuditEvent(Base):
    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    actor: Mapped[str] = mapped_column(String(100))  # a user's name, or the part of the system
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))  # "study 12", "model 3"
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
