"""Which worker processes breathe."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from cxrscreen import db
from cxrscreen.tables import Worker

QUIET = timedelta(seconds=60)  # a heartbeat this old is a worker that may be gone


def alive(session: Session, role: str) -> bool:
    since = db.clock(session) - QUIET
    return session.scalar(select(Worker.name).where(Worker.role == role, Worker.seen_at >= since).limit(1)) is not None
