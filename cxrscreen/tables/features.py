"""What networks saw of images, kept for the next head."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base


class Feature(Base):
    """The features of one image in one space: all heads on one backbone read the same (models/running/features.py)."""

    __tablename__ = "features"

    space: Mapped[str] = mapped_column(String(16), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True)
    numbers: Mapped[bytes]  # 16-bit floats, little-endian
