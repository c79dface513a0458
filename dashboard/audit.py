"""The audit log, for administrators: who did what, when, and who looked. Nothing here changes it."""

from __future__ import annotations

from datetime import date

from flask import Blueprint, render_template, request

from cxrscreen import audit, db
from cxrscreen.audit import Asked
from cxrscreen.errors import UsageError
from cxrscreen.tables import Role
from dashboard import deeds, forms, languages
from dashboard.security import needs

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

PAGE = 100
# What a deed was done to; a number or an address follows.
SUBJECTS = (
    *("study", "image", "worklist", "job", "quarantine", "reviewed set", "model", "schedule", "alert", "user"),
    *("audit log", "address", "database"),
)


@blueprint.get("")
@needs(Role.ADMIN)
def index() -> str:
    asked = Asked(
        action=request.args.get("action", "")[:40],
        actor=request.args.get("actor", "").strip()[:100],
        subject=_written(request.args.get("subject", "").strip()[:100]),
        since=_day("since"),
        until=_day("until"),
    )
    before = forms.query_whole("before")
    with db.read() as session:
        found = audit.page(session, asked, before=before, limit=PAGE + 1)
    filters = {key: value for key, value in request.args.items() if value and key != "before"}
    return render_template(
        "audit.html",
        events=found[:PAGE],
        more=len(found) > PAGE,
        asked=asked,
        subject=_subject(asked.subject),
        told_subject=_subject,
        told_name=deeds.name,
        words=audit.words,
        filters=filters,
        actions=audit.ACTIONS,
    )


def _subject(kept: str) -> str:
    """What the log has, as "study 12", in the language of the page."""
    noun, space, number = kept.rpartition(" ") if kept.rpartition(" ")[2].isdigit() else (kept, "", "")
    if noun not in SUBJECTS and noun.partition(" ")[0] in SUBJECTS:  # an address is no number
        noun, space, number = noun.partition(" ")
    return f"{languages.said(noun)}{space}{number}"


def _written(asked: str) -> str:
    """The other way round: people ask as the page tells it, or as the log has it."""
    for noun in SUBJECTS:
        told = languages.said(noun)
        if asked.lower() == told or asked.lower().startswith(f"{told} "):
            return noun + asked[len(told) :]
    return asked


def _day(name: str) -> date | None:
    written = request.args.get(name, "").strip()
    if not written:
        return None
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise UsageError(f"{written[:40]!r} is no date; write it as 2026-11-25.") from None
