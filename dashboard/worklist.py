"""The worklist: flagged studies by falling score, filtered by verdict and by job."""

from __future__ import annotations

import math

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from cxrscreen import db, jobs, worklist
from cxrscreen.errors import UsageError
from dashboard import forms, shell

blueprint = Blueprint("worklist", __name__)

PAGE = 50
JOBS_OFFERED = 50


@blueprint.get("/")
def home() -> Response:
    return redirect(url_for("worklist.index"))


@blueprint.get("/worklist")
def index() -> str:
    state, job_id = asked()
    after = cursor(request.args.get("after", ""))
    version = shell.in_use()
    with db.read() as session:
        offered = jobs.latest(session, JOBS_OFFERED)
        if version is None:
            return render_template("worklist.html", version=None, jobs=offered)
        lines = worklist.page(
            session, version.id, version.threshold, state=state, job_id=job_id, after=after, limit=PAGE + 1
        )
        counts = worklist.flagged_counts(session, version.id, version.threshold, job_id)
        if job_id is not None and all(job.id != job_id for job in offered):
            offered.append(jobs.get(session, job_id))
    shown = lines[:PAGE]
    last = shown[-1].result if len(lines) > PAGE else None
    return render_template(
        "worklist.html",
        version=version,
        lines=shown,
        counts=counts,
        states=worklist.STATES,
        state=state,
        job_id=job_id,
        jobs=offered,
        paged=after is not None,
        following=last and f"{last.score!r},{last.study_id}",
    )


def asked() -> tuple[str, int | None]:
    """The state and the job that an address filters by."""
    state = request.args.get("state", "open")
    if state not in worklist.STATES:
        abort(404)
    return state, forms.query_whole("job")


def cursor(text: str) -> tuple[float, int] | None:
    """The place a page begins after: the score and number of the last study seen."""
    if not text:
        return None
    score, _, study_id = text.partition(",")
    try:
        place = float(score), int(study_id)
    except ValueError:
        raise UsageError("That address does not name a place in the worklist.") from None
    if not math.isfinite(place[0]) or not 0 <= place[1] < 10**15:
        raise UsageError("That address does not name a place in the worklist.")
    return place
