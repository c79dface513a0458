"""Retention: studies that are older than the setting go by themselves; one that waits for a verdict never does."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from cxrscreen import db, deletion, registry
from cxrscreen.errors import CxrscreenError
from cxrscreen.settings import get_settings
from cxrscreen.tables import Image, Review, Study, StudyResult, Verdict

log = logging.getLogger(__name__)

ACTOR = "retention"
MOST = 100  # studies that one look deletes


def run(moment: datetime) -> int:
    """Delete what is due, the oldest first; answers how many studies went."""
    days = get_settings().retention_days
    if not days:
        return 0
    with db.read() as session:
        found = due(session, moment - timedelta(days=days), MOST)
    count = 0
    for study_id in found:
        try:
            with db.write() as session:
                # Asked again once it is held: a picture or a doubt may have come meanwhile.
                deletion.hold(session, study_id)
                if study_id in due(session, moment - timedelta(days=days), 1, study_id):
                    deletion.delete_study(session, study_id, ACTOR, f"older than {days} days")
                    count += 1
        except CxrscreenError as error:
            log.info("Study %s stays for now: %s", study_id, error)
    return count


def due(session: Session, before: datetime, limit: int, study_id: int | None = None) -> list[int]:
    """Studies whose last picture and last verdict are older than `before` and that wait for nobody.

    Where no version is active nobody knows what waits, and nothing is due.
    """
    active = registry.active(session)
    if active is None:
        return []
    query = select(Study.id).where(
        Study.created_at < before,
        ~exists().where(Image.study_id == Study.id, Image.created_at >= before),
        ~exists().where(Review.study_id == Study.id, Review.created_at >= before),
        ~exists().where(StudyResult.study_id == Study.id, _waits(active.id, registry.threshold(session, active.id))),
    )
    if study_id is not None:
        query = query.where(Study.id == study_id)
    return list(session.scalars(query.order_by(Study.id).limit(limit)))


def _waits(version_id: int, threshold: float) -> ColumnElement[bool]:
    """Flagged, drawn for a blind reading, or read by the first of two; and nobody has said yes or no."""
    listed = or_(
        StudyResult.score >= threshold, StudyResult.draw.is_not(None), StudyResult.first_reader_id.is_not(None)
    )
    undecided = or_(StudyResult.verdict.is_(None), StudyResult.verdict == Verdict.UNSURE)
    return and_(StudyResult.model_version_id == version_id, listed, undecided)
