"""Whose case a study is: a hint for lists. Whoever may read may read a case that is somebody else's."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, users
from cxrscreen.errors import UsageError
from cxrscreen.tables import Role, Study, StudyResult, User


def assign(session: Session, actor: User, study_ids: Sequence[int], to: User | None) -> int:
    """Make the studies one person's, or nobody's; answers how many changed. Raises UsageError for who may not read."""
    if to is not None and not (to.active and users.may(to, Role.READER)):
        raise UsageError(f"{to.name} gives no verdicts, so no case can be assigned to that account.")
    owner = to.id if to else None
    # Locked as `studies.hold` locks them: two that assign the same rows queue up.
    query = select(Study).where(Study.id.in_(set(study_ids))).order_by(Study.id).with_for_update(key_share=True)
    changed = [study for study in session.scalars(query) if study.assigned_id != owner]
    for study in changed:
        study.assigned_id = owner
        audit.record(session, actor, "study.assign", f"study {study.id}", to=to.name if to else None)
    ids = [study.id for study in changed]
    session.execute(update(StudyResult).where(StudyResult.study_id.in_(ids)).values(assigned_id=owner))
    return len(changed)
