"""Model versions and their operating points."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, Key, now
from cxrscreen.tables.words import ModelState


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
