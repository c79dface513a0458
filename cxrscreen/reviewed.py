"""The reviewed set: each study with a verdict that stands, what the reader was shown, and what was said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from cxrscreen import registry
from cxrscreen.tables import Image, ModelVersion, Review, Study, StudyResult, User

PAGE = 1000
# Name and kind of each column, in the order of the table.
COLUMNS: dict[str, type] = {
    "review": int,
    "study": int,
    "label": str,
    "patient": str,
    "accession": str,
    "study_date": str,
    "image_sha256": str,  # of the image that scored highest
    "images": int,
    "verdict": str,
    "comment": str,
    "reader": str,
    "reviewed_at": str,  # ISO 8601, UTC
    "model": str,  # that was shown
    "model_class": str,
    "model_subclass": str,
    "score": float,
    "threshold": float,  # of that model today
    "flagged": bool,
}


def rows(session: Session) -> Iterator[dict[str, Any]]:
    """One row a study, in the order of the verdicts; a page of them is in memory at a time."""
    limits: dict[int, float] = {}
    last = 0
    while True:
        query = (
            select(Review, Study, User.name, ModelVersion, StudyResult, Image.sha256)
            .join(Study, Study.id == Review.study_id)
            .join(User, User.id == Review.user_id)
            .outerjoin(ModelVersion, ModelVersion.id == Review.model_version_id)
            .outerjoin(
                StudyResult,
                and_(StudyResult.study_id == Review.study_id, StudyResult.model_version_id == Review.model_version_id),
            )
            .outerjoin(Image, Image.id == StudyResult.image_id)
            .where(Review.superseded_at.is_(None), Review.id > last)
            .order_by(Review.id)
            .limit(PAGE)
        )
        found = session.execute(query).all()
        for review, study, reader, model, result, sha256 in found:
            if model is not None and model.id not in limits:
                limits[model.id] = registry.threshold(session, model.id)
            limit = limits.get(model.id) if model is not None else None
            yield {
                "review": review.id,
                "study": study.id,
                "label": study.label,
                "patient": study.patient,
                "accession": study.accession,
                "study_date": study.study_date,
                "image_sha256": sha256,
                "images": result.images if result else None,
                "verdict": review.verdict.value,
                "comment": review.comment,
                "reader": reader,
                "reviewed_at": review.created_at.isoformat(timespec="seconds"),
                "model": model.name if model else None,
                "model_class": result.label if result else None,
                "model_subclass": result.subclass if result else None,
                "score": result.score if result else None,
                "threshold": limit,
                "flagged": result.score >= limit if result and limit is not None else None,
            }
            last = review.id
        session.expunge_all()
        if len(found) < PAGE:
            return
