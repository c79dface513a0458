"""The archive: studies, images, what model versions said of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, Key, now
from cxrscreen.tables.words import Draw, Verdict


def _beside(*columns: str) -> dict[str, Any]:
    """Columns that PostgreSQL keeps in an index without sorting by them: filters are answered without the table."""
    return {"postgresql_include": [*columns, "verdict", "reader_id", "label", "subclass"]}


def _where(condition: str) -> dict[str, Any]:
    return {f"{dialect}_where": text(condition) for dialect in ("postgresql", "sqlite")}


_OPEN = ("score", "draw", "first_reader_id", "second_reader_id", "assigned_id")  # what a list of open studies asks for


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
    assigned_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))  # whose case it is
    # Of two blind readings; both are there and no verdict stands: the two differ, and a third person decides.
    first_reader_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    second_reader_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))


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
    derivative: Mapped[str] = mapped_column(String(64), index=True)  # SHA-256 of the small 8-bit picture in the store
    width: Mapped[int]
    height: Mapped[int]
    facts: Mapped[dict[str, Any]]  # modality, view, bits, photometric ...; nothing that names a person
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)


class Result(Base):
    """One model version's answer on one image."""

    __tablename__ = "results"
    __table_args__ = (
        UniqueConstraint("image_id", "model_version_id"),
        # A version's first and latest results without the rest: what drift is measured by.
        Index("ix_results_model_version_id_id", "model_version_id", "id"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    label: Mapped[str] = mapped_column(String(40))
    subclass: Mapped[str] = mapped_column(String(60))
    score: Mapped[float]  # P(COVID-19)
    probabilities: Mapped[dict[str, Any]]  # subclass -> probability; a class is the sum of its own
    distance: Mapped[float | None]  # to the nearest training subclass
    preprocessing: Mapped[str] = mapped_column(String(40))
    # Class activation map: height and width as bytes, then one byte a cell; none: not made yet, empty: there is none.
    heat: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class StudyResult(Base):
    """The highest score of a study's images under one model version: what a line of the worklist stands on.

    The current verdict, its reader, those who read it blind, whose case it is and the study's date are copied here, so
    that one index answers a page however many studies were read already; `studies.refresh` and `studies.copy` write the
    copies while they hold the study's row.
    """

    __tablename__ = "study_results"
    __table_args__ = (
        UniqueConstraint("study_id", "model_version_id"),
        # One index a sort, the columns that filters ask for beside it; and one for each filter that few rows pass.
        Index("ix_study_results_by_queue", "model_version_id", "queue", "study_id", **_beside("updated_at", *_OPEN)),
        Index("ix_study_results_by_score", "model_version_id", "score", "study_id", **_beside("updated_at")),
        Index("ix_study_results_by_time", "model_version_id", "updated_at", "study_id", **_beside("queue", *_OPEN)),
        Index("ix_study_results_by_date", "model_version_id", "study_date", "study_id", **_beside("queue", *_OPEN)),
        Index(
            "ix_study_results_by_verdict",
            *("model_version_id", "verdict", "queue", "study_id"),
            postgresql_include=["updated_at", "label", "subclass", *_OPEN],
        ),
        Index(
            "ix_study_results_by_subclass",
            *("model_version_id", "subclass", "queue", "study_id"),
            postgresql_include=["verdict", *_OPEN],
        ),
        Index(
            "ix_study_results_by_reader",
            *("model_version_id", "reader_id", "queue", "study_id"),
            **_where("reader_id IS NOT NULL"),
        ),
        Index(
            "ix_study_results_by_assigned",
            *("model_version_id", "assigned_id", "queue", "study_id"),
            **_where("assigned_id IS NOT NULL"),
        ),
        # Read blind and not settled: few rows at any time, so that any filter may be beside.
        Index(
            "ix_study_results_read_once",
            *("model_version_id", "first_reader_id", "queue", "study_id"),
            **_where("first_reader_id IS NOT NULL AND verdict IS NULL"),
            **_beside("updated_at", "study_date", "score", "draw", "second_reader_id", "assigned_id"),
        ),
        Index(
            "ix_study_results_read_twice",
            *("model_version_id", "queue", "study_id"),
            **_where("second_reader_id IS NOT NULL AND verdict IS NULL"),
            **_beside("updated_at", "study_date", *_OPEN),
        ),
        # The nearest cases of a flag are looked for on every study's page.
        Index(
            "ix_study_results_confirmed",
            *("model_version_id", "subclass", "queue"),
            **_where("verdict = 'confirmed'"),
            postgresql_include=["study_id", "image_id", "score"],
        ),
        Index("ix_study_results_drawn", "model_version_id", "draw", "study_id", **_where("draw IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column(String(40))
    subclass: Mapped[str] = mapped_column(String(60))
    score: Mapped[float]
    images: Mapped[int]  # how many were scored
    updated_at: Mapped[datetime] = mapped_column(default=now)
    verdict: Mapped[Verdict | None]  # of the current review
    reader_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))  # who gave it
    study_date: Mapped[str] = mapped_column(String(8), default="", server_default="")  # empty where none is kept
    # Where it stands in the reading list: the score, but of a hidden case a place that tells nothing (`blind.queue`).
    queue: Mapped[float] = mapped_column(default=0.0, server_default="0")
    draw: Mapped[Draw | None]  # the case is read without the model's answer: why
    assigned_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    first_reader_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    second_reader_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
