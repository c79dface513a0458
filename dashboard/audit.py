"""The audit log, for administrators: who did what, when, and who looked. Nothing here changes it."""

from __future__ import annotations

from datetime import date

from flask import Blueprint, render_template, request

from cxrscreen import audit, db
from cxrscreen.audit import Asked
from cxrscreen.errors import UsageError
from cxrscreen.tables import Role
from dashboard import forms
from dashboard.security import needs

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

PAGE = 100


@blueprint.get("")
@needs(Role.ADMIN)
def index() -> str:
    asked = Asked(
        action=request.args.get("action", "")[:40],
        actor=request.args.get("actor", "").strip()[:100],
        subject=request.args.get("subject", "").strip()[:100],
        since=_day("since"),
        until=_day("until"),
    )
    before = forms.query_whole("before")
    with db.read() as session:
        found = audit.page(session, asked, before=before, limit=PAGE + 1)
    filters = {key: value for key, value in request.args.items() if value and key != "before"}
    return render_template(
        "audit.html", events=found[:PAGE], more=len(found) > PAGE, asked=asked, filters=filters, actions=audit.ACTIONS
    )


def _day(name: str) -> date | None:
    written = request.args.get(name, "").strip()
    if not written:
        return None
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise UsageError(f"{written[:40]!r} is no date; write it as 2026-11-25.") from None
