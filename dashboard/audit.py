"""The audit log, for administrators: who did what, when, and who looked. Nothing here changes it."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Blueprint, render_template, request

from cxrscreen import audit, db
from cxrscreen.audit import Asked
from cxrscreen.errors import UsageError
from cxrscreen.tables import Role
from dashboard import forms, languages
from dashboard.security import needs

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

PAGE = 100
# What a deed was done to; a number or an address follows.
SUBJECTS = (
    *("study", "image", "worklist", "job", "quarantine", "reviewed set", "model", "schedule", "alert", "user"),
    *("audit log", "address", "database"),
)
# What is told beside a deed, and what the address of a page that was looked at asked for.
DETAILS = (
    *("verdict", "reading", "images", "results", "verdicts", "uploads", "name", "before", "threshold", "window"),
    *("role", "why", "title", "entries", "patient", "study", "zone", "rate", "enabled", "policy", "scope", "model"),
    *("state", "job", "class", "subclass", "reader", "assigned", "sort", "image", "reason", "status", "from", "to"),
    "bytes",
)
RENAMED = {
    **{"way": "how", "sign_off": "signed for", "by": "by way of", "chosen": "chosen by hand", "review": "verdict no."},
    **{"cron": "times", "last_verdict": "last verdict", "as": "file type", "beside": "beside study", "size": "lines"},
    **{"low": "score from", "high": "score to", "q": "search", "since": "from", "until": "to", "after": "page from"},
    **{"action": "what", "actor": "who", "subject": "on", "auth": "signing in"},
}
WAYS_IN = ("link", "password")
# Details whose values are words of fixed lists, and no names.
WORDED = {"verdict", "way", "role", "state", "status", "sort", "by"}


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
        told_detail=_detail,
        told_name=_name,
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


def _detail(detail: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of what is told and its value, in words where they are words of ours."""
    return [
        (_name(key), languages.said(value) if key in WORDED else str(value))
        for key, value in detail.items()
        if value is not None
    ]


def _name(key: str) -> str:
    return languages.said(RENAMED.get(key, key))


def _day(name: str) -> date | None:
    written = request.args.get(name, "").strip()
    if not written:
        return None
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise UsageError(f"{written[:40]!r} is no date; write it as 2026-11-25.") from None
