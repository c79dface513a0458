"""Clearing a job's uploaded files by hand, for administrators: first what is given up with them, then the deed."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from cxrscreen import blobs, db, jobs, uploaded
from cxrscreen.errors import CxrscreenError
from cxrscreen.tables import Role
from dashboard import filters, identity
from dashboard.languages import gettext, ngettext
from dashboard.security import needs

blueprint = Blueprint("clearing", __name__, url_prefix="/jobs")


@blueprint.get("/<id:job_id>/clear")
@needs(Role.ADMIN)
def confirm(job_id: int) -> str | Response:
    with db.read() as session:
        job = jobs.get(session, job_id)
        try:
            standing = uploaded.standing(session, job)
        except CxrscreenError as error:  # somebody was first, or the job went on: its page says the rest
            flash(str(error), "bad")
            return redirect(url_for("jobs.show", job_id=job_id))
        stake = uploaded.stake(session, job)
    return render_template("job_clear.html", job=job, standing=standing, stake=stake)


@blueprint.post("/<id:job_id>/clear")
@needs(Role.ADMIN)
def clear(job_id: int) -> Response:
    gone = uploaded.clear(blobs.store(), job_id, identity.signed_in().row)
    said = ngettext(
        "%(num)d uploaded file was cleared, %(size)s.",
        "%(num)d uploaded files were cleared, %(size)s.",
        gone.files,
        size=filters.size(gone.bytes),
    )
    if gone.stay:
        names = uploaded.named(gone.stay)
        said += " " + gettext(
            "The store lacks the original of a picture that came in: %(names)s. They stay.", names=names
        )
    flash(said, "note" if gone.stay else "good")
    return redirect(url_for("jobs.show", job_id=job_id))


def left_in_cleared(count: int) -> str:
    """Why a retry left entries as they ended; empty where it left none."""
    if not count:
        return ""
    return ngettext(
        "%(num)d entry stood in an uploaded file that was cleared; upload it again to try it.",
        "%(num)d entries stood in an uploaded file that was cleared; upload it again to try them.",
        count,
    )
