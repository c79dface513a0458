"""Jobs: the list, a job's live account, its entries, its buttons and its table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from cxrscreen import clearing, db, entries, jobs, queue, registry, retries, timeline, uploaded, worklist
from cxrscreen.imaging.reasons import sentence
from cxrscreen.tables import EntryStatus, Job, JobState, ModelVersion, User
from dashboard import forms, identity, sheets
from dashboard.clearing import left_in_cleared
from dashboard.languages import said

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

PAGE = 50
ENTRIES = 100
SAID = {
    "pause": "The job paused.",
    "resume": "The job goes on.",
    "cancel": "The job is cancelled.",
    "retry": "The job tries again.",
}
ACTIONS = tuple(SAID)


@blueprint.get("")
def index() -> str:
    before = forms.query_whole("before")
    with db.read() as session:
        found = jobs.latest(session, PAGE + 1, before)
        shown = found[:PAGE]
        accounts = jobs.accounts(session, [job.id for job in shown])
        people = {job.user_id: session.get(User, job.user_id) for job in shown if job.user_id}
    return render_template(
        "jobs.html", jobs=shown, accounts=accounts, people=people, more=len(found) > PAGE, before=before
    )


@blueprint.get("/<id:job_id>")
def show(job_id: int) -> str:
    with db.read() as session:
        job = jobs.get(session, job_id)
        told = _progress(session, job)
        version = session.get_one(ModelVersion, job.model_version_id)
        owner = session.get(User, job.user_id) if job.user_id else None
        limit = registry.threshold(session, version.id)
        flagged = bool(worklist.page(session, version.id, limit, worklist.Filters(state="all", job=job_id), limit=1))
        past = _past(session, job)
        standing = uploaded.clearable(session, job)
    return render_template(
        "job.html",
        job=job,
        told=told,
        version=version,
        owner=owner,
        flagged=flagged,
        threshold=limit,
        open=job.state in jobs.OPEN,
        cleared=clearing.of_job(job),
        uploaded=standing,
        **past,
    )


@blueprint.get("/<id:job_id>/timeline")
def show_timeline(job_id: int) -> str:
    """The time line alone, which an open page asks for when the job's state changes."""
    with db.read() as session:
        job = jobs.get(session, job_id)
        past = _past(session, job)
    return render_template("timeline.html", job=job, **past)


def _past(session: Session, job: Job) -> dict[str, Any]:
    events = timeline.events(session, job)
    return {"events": events, "phases": timeline.phases(job, events, db.clock(session))}


@blueprint.get("/<id:job_id>/progress")
def progress(job_id: int) -> Response:
    with db.read() as session:
        return jsonify(_progress(session, jobs.get(session, job_id)))


@blueprint.post("/<id:job_id>/<action>")
def act(job_id: int, action: str) -> AnyResponse:
    if action not in ACTIONS:
        abort(404)
    tried = change(job_id, action)
    flash(SAID[action], "good")
    if tried and tried.cleared:
        flash(left_in_cleared(tried.cleared), "note")
    return redirect(url_for("jobs.show", job_id=job_id))


def change(job_id: int, action: str) -> retries.Tried | None:
    """Pause, resume, cancel or retry; what goes on wakes an ingest worker after the commit."""
    me = identity.signed_in().row
    tried = None
    with db.write() as session:
        jobs.get(session, job_id)
        if action == "retry":
            tried = retries.failed(session, job_id, me)
        else:
            getattr(jobs, action)(session, job_id, me)
        session.flush()
        session.expire_all()
        job = jobs.get(session, job_id)
        wakes = action in ("resume", "retry") and not job.listed and job.state in jobs.OPEN
    if wakes:
        queue.submit(queue.INGEST, job_id)
    return tried


@blueprint.get("/<id:job_id>/entries")
def list_entries(job_id: int) -> str:
    status, reason = request.args.get("status", ""), request.args.get("reason", "")
    if status and status not in EntryStatus._value2member_map_:
        abort(404)
    with db.read() as session:
        job = jobs.get(session, job_id)
        found = entries.page(
            session,
            job,
            status=EntryStatus(status) if status else None,
            reason=reason,
            after=forms.query_whole("after") or 0,
            limit=ENTRIES + 1,
        )
        account = jobs.account(session, job_id)
        limit = registry.threshold(session, job.model_version_id)
    return render_template(
        "entries.html",
        job=job,
        lines=found[:ENTRIES],
        more=len(found) > ENTRIES,
        account=account,
        threshold=limit,
        status=status,
        reason=reason,
        statuses=list(EntryStatus),
    )


@blueprint.get("/<id:job_id>/export.csv")
def export(job_id: int) -> Response:
    """The table of `screen --out`, row by row as the database gives it: memory does not grow with the job."""
    with db.read() as session:
        jobs.get(session, job_id)
    return Response(
        stream_with_context(_lines(job_id)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="cxrscreen-job-{job_id}.csv"'},
    )


def _lines(job_id: int) -> Iterator[str]:
    with db.read() as session:
        yield from sheets.csv_lines(entries.rows(session, job_id), ("file", "status"))


def _progress(session: Any, job: Job) -> dict[str, Any]:
    told = jobs.progress(session, job)
    told["open"] = job.state in jobs.OPEN
    told["paused"] = job.state == JobState.PAUSED
    told["retry"] = retries.offered(session, job)
    told["sentences"] = {reason: said(sentence(reason)) for reason in told["reasons"]}
    told["state_word"], told["error"] = said(told["state"]), said(told["error"] or "") or None
    return told
