"""How readers agree with one another, and what the blind sample says of what the model passes over."""

from __future__ import annotations

from flask import Blueprint, render_template

from cxrscreen import agreement, db
from cxrscreen.settings import get_settings
from cxrscreen.tables import Role, Verdict
from dashboard import shell
from dashboard.security import needs

blueprint = Blueprint("agreement", __name__, url_prefix="/agreement")


@blueprint.get("")
@needs(Role.READER)
def index() -> str:
    version = shell.in_use()
    settings = get_settings()
    with db.read() as session:
        pairs = agreement.pairs(session)
        sample = agreement.sample(session, version.id) if version else None
    return render_template(
        "agreement.html",
        pairs=pairs,
        pooled=agreement.kappa(agreement.pooled(pairs)),
        sample=sample,
        version=version,
        words=[verdict.value for verdict in Verdict],
        second_readings=settings.second_readings,
        sample_share=settings.sample_share,
        masked_share=settings.masked_share,
    )
