"""What people said of studies: verdicts that stand or stood, and the blind readings of studies that two people read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, Key, now
from cxrscreen.tables.words import Verdict, Way

_CURRENT: dict[str, Any] = {f"{dialect}_where": text("superseded_at IS NULL") for dialect in ("postgresql", "sqlite")}


class Review(Base):
    """A study's verdict. A new one takes the place of the old, which stays: `superseded_at` tells when.

    One that its reader took back (`withdrawn_at`) stays too, and the one it had replaced stands again.
    """

    __tablename__ = "reviews"
    __table_args__ = (Index("ix_reviews_current", "study_id", **_CURRENT),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))  # of two who agree: the second
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))  # that was shown
    verdict: Mapped[Verdict]
    comment: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    superseded_at: Mapped[datetime | None]
    way: Mapped[Way] = mapped_column(default=Way.SINGLE, server_default="single")
    findings: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")  # words of cxrscreen.findings
    seconds: Mapped[float | None]  # that the page of the case was looked at
    blind: Mapped[bool] = mapped_column(default=False, server_default=text("false"))  # the model's answer was hidden
    replaces_id: Mapped[int | None] = mapped_column(ForeignKey("reviews.id"))
    withdrawn_at: Mapped[datetime | None]


class Reading(Base):
    """One of two verdicts that were given without knowledge of the other; what stands is a review."""

    __tablename__ = "readings"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    verdict: Mapped[Verdict]
    comment: Mapped[str] = mapped_column(Text, default="")
    findings: Mapped[list[Any]] = mapped_column(default=list)
    seconds: Mapped[float | None]
    blind: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    withdrawn_at: Mapped[datetime | None]
