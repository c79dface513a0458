"""The quarantine: every entry without a score, why, and another try for those whose bytes are still there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, stream_with_context, url_for
from flask_babel import gettext, ngettext
from werkzeug.wrappers import Response as AnyResponse

from cxrscreen import blobs, db, jobs, quarantine, queue, retries
from cxrscreen.errors import UsageError
from cxrscreen.quarantine import Choice
from cxrscreen.retries import Tried
from cxrscreen.tables import EntryStatus
from dashboard import forms, identity, sheets
from dashboard.clearing import left_in_cleared

blueprint = Blueprint("quarantine", __name__, url_prefix="/quarantine")

LINES = 50
MOST_CHOSEN = 1000
COLUMNS = ("job", "job_title", "file", "status", "reason", "sentence", "detail", "sha256", "at")


@blueprint.get("")
def index() -> str:
    choice = _choice()
    with db.read() as session:
        job = jobs.get(session, choice.job) if choice.job is not None else None
        found = quarantine.page(session, choice, before=forms.query_whole("before"), limit=LINES + 1)
        reasons = quarantine.reasons(session, choice)
    return render_template(
        "quarantine.html",
        lines=found[:LINES],
        more=len(found) > LINES,
        reasons=reasons,
        choice=choice,
        here=_address(choice),
        job=job,
    )


@blueprint.get("/list.csv")
def export() -> Response:
    """The same entries as a table, row by row as the database gives them."""
    choice = _choice()
    return Response(
        stream_with_context(_lines(choice)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="cxrscreen-quarantine.csv"'},
    )


@blueprint.post("/retry")
def retry() -> AnyResponse:
    """Try the chosen entries again, or all that failed by our fault; the filter is in the address."""
    choice = _choice()
    tried = _tried(_failed(choice) if "all" in request.form else iter([_ids()]))
    for job_id in tried.by_job:
        queue.submit(queue.INGEST, job_id)
    if tried.again:
        said = ngettext("%(num)d entry waits again.", "%(num)d entries wait again.", tried.again)
    else:
        said = gettext("Nothing waits again.")
    if tried.left:
        said += " " + ngettext(
            "%(num)d was left: its bytes are no longer where they were.",
            "%(num)d were left: their bytes are no longer where they were.",
            tried.left,
        )
    said = f"{said} {left_in_cleared(tried.cleared)}".rstrip()
    flash(said, "good" if tried.again else "bad")
    return redirect(url_for("quarantine.index", **_address(choice)))


def _tried(pages: Iterator[list[int]]) -> Tried:
    """Try the first of these again of which any can be: those that stay as they are must not stand before the rest."""
    seen = left = cleared = 0
    for chosen in pages:
        with db.write() as session:
            tried = retries.chosen(session, chosen, identity.signed_in().row, blobs.store())
        seen, left, cleared = seen + len(chosen), left + tried.left, cleared + tried.cleared
        if tried.again:
            return Tried(tried.by_job, left, cleared)
    if not seen:
        raise UsageError("Choose the entries that should be tried again.")
    return Tried({}, left, cleared)


def _failed(choice: Choice) -> Iterator[list[int]]:
    last = 0
    while True:
        with db.read() as session:
            found = quarantine.failed(session, choice, last)
        if not found:
            return
        last = found[-1]
        yield found


def _ids() -> list[int]:
    written = request.form.getlist("entry")[: MOST_CHOSEN + 1]
    if len(written) > MOST_CHOSEN:
        raise UsageError(f"At most {MOST_CHOSEN} entries are tried again at once.")
    if not all(one.isascii() and one.isdigit() and len(one) <= 15 for one in written):
        raise UsageError("That is no entry.")
    return sorted({int(one) for one in written})


def _choice() -> Choice:
    status = request.args.get("status", "")
    if status and status not in quarantine.SET_ASIDE:
        raise UsageError("Entries here are rejected or failed.")
    return Choice(
        forms.query_whole("job"), request.args.get("reason", "")[:40], EntryStatus(status) if status else None
    )


def _address(choice: Choice) -> dict[str, Any]:
    return {
        "job": choice.job,
        "reason": choice.reason or None,
        "status": choice.status.value if choice.status else None,
    }


def _lines(choice: Choice) -> Iterator[str]:
    with db.read() as session:
        yield from sheets.csv_lines(quarantine.rows(session, choice), COLUMNS)
