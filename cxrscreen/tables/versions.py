"""Model versions and their operating points."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, Key, now
from cxrscreen.tables.words import Band, ModelState


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


class Activation(Base):
    """A change of what people see: which version took the place of which, who signed for it, and with which words."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    before_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    actor: Mapped[str] = mapped_column(String(100))
    sign_off: Mapped[str] = mapped_column(Text, default="")
    rolled_back: Mapped[bool] = mapped_column(default=False)
    at: Mapped[datetime] = mapped_column(default=now)


class Drift(Base):
    """One night's results of a version beside its reference; histograms are counts."""

    __tablename__ = "drifts"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    last_result_id: Mapped[int] = mapped_column(BigInteger)  # the next night is measured from here on
    results: Mapped[int]  # that were measured
    # {"scores" | "subclasses" | "distances": {"bins": [...], "now": [...], "reference": [...], "psi": x, "limit": y}}
    figures: Mapped[dict[str, Any]]
    reference: Mapped[str] = mapped_column(Text)  # what it was held against, in words
    band: Mapped[Band]
    at: Mapped[datetime] = mapped_column(default=now)


class Alert(Base):
    """Something that a person should look at; it stands until somebody says that they have."""

    __tablename__ = "alerts"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    drift_id: Mapped[int | None] = mapped_column(ForeignKey("drifts.id", ondelete="CASCADE"), index=True)
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    said: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime | None]
    seen_by: Mapped[str | None] = mapped_column(String(100))


class OperatingPoint(Base):
    """A threshold of a model version, with who set it; the newest row counts."""

    __tablename__ = "operating_points"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    threshold: Mapped[float]
    set_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    set_at: Mapped[datetime] = mapped_column(default=now)
    note: Mapped[str] = mapped_column(Text, default="")  # the sign-off of a person, or where it came from
    # What it meant when it was signed for, as `operating.figures` tells it; empty where nobody signed.
    figures: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
