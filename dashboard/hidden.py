"""Whether what the model says of a study is kept from the person who asks, on every page and picture alike."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cxrscreen import readings, registry, studies
from cxrscreen.tables import ModelState, ModelVersion, Study, StudyResult
from dashboard import identity, shell


def is_hidden(session: Session, study: Study) -> bool:
    """Until this person has said what he sees, where the study is one that is read blind."""
    version = shell.in_use()
    where = readings.standing(session, study, identity.signed_in().row)
    return readings.is_hidden(session, study.id, version.id if version else None, where)


def answers(session: Session, study_id: int, me: identity.Person) -> list[tuple[StudyResult, ModelVersion, float]]:
    """What each version says of a study, with its threshold.

    What one says in shadow is no reader's matter until somebody signed for it (law 7).
    """
    told = [
        (said, model)
        for said, model in studies.answers(session, study_id)
        if model.state != ModelState.CANDIDATE or me.may_administer
    ]
    limits = registry.thresholds(session, [model.id for _, model in told])
    return [(said, model, limits[model.id]) for said, model in told]
