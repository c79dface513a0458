"""Whether what the model says of a study is kept from the person who asks, on every page and picture alike."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cxrscreen import readings
from cxrscreen.tables import Study
from dashboard import identity, shell


def is_hidden(session: Session, study: Study) -> bool:
    """Until this person has said what he sees, where the study is one that is read blind."""
    version = shell.in_use()
    where = readings.standing(session, study, identity.signed_in().row)
    return readings.is_hidden(session, study.id, version.id if version else None, where)
