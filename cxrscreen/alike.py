"""The confirmed cases that a network saw most like one image, of the same subclass: why it may have been flagged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import literal, select
from sqlalchemy.orm import Session

from cxrscreen import features
from cxrscreen.tables import ModelVersion, Result, Study, StudyResult, Verdict

# Looked through for each page: the surest of the confirmed, and three kilobytes each.
LOOKED_AT = 100


@dataclass(frozen=True)
class Case:
    study: Study
    image_id: int
    score: float
    likeness: float | None  # cosine of what the network saw, 1 at most; none where its features are not kept


def confirmed(session: Session, study_id: int, result: Result, limit: int = 3) -> list[Case]:
    """The nearest confirmed cases of the result's subclass and version, by features
    where they are kept, else by score."""
    rows = session.execute(
        select(StudyResult.study_id, StudyResult.image_id, StudyResult.score)
        .where(
            StudyResult.model_version_id == result.model_version_id,
            StudyResult.subclass == result.subclass,
            # In the statement itself: an index of such rows alone is not used for a value that comes beside it.
            StudyResult.verdict == literal(Verdict.CONFIRMED, StudyResult.verdict.type, literal_execute=True),
            StudyResult.study_id != study_id,
        )
        .order_by(StudyResult.queue.desc())
        .limit(LOOKED_AT)
    ).all()
    if not rows:
        return []
    likeness = _likeness(session, result, [row.image_id for row in rows])
    best = sorted(rows, key=lambda row: (-likeness.get(row.image_id, -1.0), abs(row.score - result.score)))[:limit]
    wanted = select(Study).where(Study.id.in_([row.study_id for row in best]))
    held = {study.id: study for study in session.scalars(wanted)}
    return [Case(held[row.study_id], row.image_id, row.score, likeness.get(row.image_id)) for row in best]


def _likeness(session: Session, result: Result, image_ids: list[int]) -> dict[int, float]:
    space = session.get_one(ModelVersion, result.model_version_id).record.get("feature_space")
    if space is None:
        return {}
    kept = features.of(session, space, [result.image_id]) | features.of(session, space, image_ids)
    seen = {image_id: _unit(numbers) for image_id, numbers in kept.items()}
    mine = seen.pop(result.image_id, None)
    if mine is None:
        return {}
    return {image_id: float(mine @ other) for image_id, other in seen.items() if other.shape == mine.shape}


def _unit(numbers: bytes) -> NDArray[np.float32]:
    """What a network saw, little-endian halves (models/running/features.py), at length one."""
    values = np.frombuffer(numbers, "<f2").astype(np.float32)
    return values / max(float(np.linalg.norm(values)), 1e-12)
