"""The audit log, for administrators: who did what, when. Nothing here changes it."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from cxrscreen import audit, db
from cxrscreen.tables import Role
from dashboard import forms
from dashboard.security import needs

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

PAGE = 100
KINDS = ("auth", "job", "study", "model", "schedule", "user")


@blueprint.get("")
@needs(Role.ADMIN)
def index() -> str:
    action, actor = request.args.get("action", "")[:40], request.args.get("actor", "").strip()[:100]
    before = forms.query_whole("before")
    with db.read() as session:
        found = audit.page(session, action=action, actor=actor, before=before, limit=PAGE + 1)
    return render_template(
        "audit.html", events=found[:PAGE], more=len(found) > PAGE, action=action, actor=actor, kinds=KINDS
    )
