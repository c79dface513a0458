"""Two model versions side by side, on the studies that both have scored; shown before a person activates one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer, and_, case, func, select
from sqlalchemy.orm import Session, aliased

from cxrscreen import registry
from cxrscreen.tables import ModelVersion, StudyResult

LISTED = 50


def versions(session: Session, first: ModelVersion, second: ModelVersion) -> dict[str, Any]:
    """Agreement and flips; each version is read at its own operating point. Lists hold at most 50 study ids."""
    one, two = aliased(StudyResult), aliased(StudyResult)
    limits = registry.threshold(session, first.id), registry.threshold(session, second.id)
    both = and_(
        one.study_id == two.study_id,
        one.model_version_id == first.id,
        two.model_version_id == second.id,
    )
    newly = and_(one.score < limits[0], two.score >= limits[1])
    no_longer = and_(one.score >= limits[0], two.score < limits[1])

    def share(condition: Any) -> Any:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0).cast(Integer)

    counts = session.execute(
        select(
            func.count(),
            share(one.label == two.label),
            share(newly),
            share(no_longer),
            func.avg(two.score - one.score),
        )
        .select_from(one)
        .join(two, both)
    ).one()

    def listed(condition: Any) -> list[int]:
        query = select(one.study_id).join(two, both).where(condition).order_by(two.score.desc()).limit(LISTED)
        return list(session.scalars(query))

    return {
        "first": {"name": first.name, "threshold": limits[0]},
        "second": {"name": second.name, "threshold": limits[1]},
        "studies": counts[0],
        "same_label": counts[1],
        "newly_flagged": counts[2],
        "no_longer_flagged": counts[3],
        "mean_score_shift": counts[4],
        "newly_flagged_studies": listed(newly),
        "no_longer_flagged_studies": listed(no_longer),
    }
