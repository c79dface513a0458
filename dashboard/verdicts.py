"""What a reader hands in on a study, and takes back: then on to the next case, or back to the one before."""

from __future__ import annotations

import math

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from cxrscreen import db, findings, readings, studies, worklist
from cxrscreen.errors import CxrscreenError, UsageError
from cxrscreen.readings import Given
from cxrscreen.tables import ModelVersion, Role, Verdict
from dashboard import acts, forms, identity, languages
from dashboard.filters import isolated
from dashboard.security import needs
from dashboard.worklist import around, asked, version_for

blueprint = Blueprint("verdicts", __name__, url_prefix="/studies")

COMMENT_LENGTH = 4000
LONGEST = 24 * 3600.0


@blueprint.post("/<id:study_id>/review")
@needs(Role.READER)
def give(study_id: int) -> Response:
    """Write a verdict over the one that was seen, and go on to the next case of the list it was opened from."""
    said = forms.text("verdict", most=20)
    if said not in Verdict._value2member_map_:
        raise UsageError(f"A verdict is one of {', '.join(Verdict)}.")
    shown = forms.whole("model")
    filters = asked()
    me = identity.signed_in().row
    with db.write() as session:
        study = studies.get(session, study_id)
        model = session.get(ModelVersion, shown) if shown is not None else None
        given = Given(
            verdict=Verdict(said),
            comment=forms.text("comment", most=COMMENT_LENGTH, needed=False),
            findings=findings.read(request.form.getlist("finding")),
            seconds=_seconds(),
            model_version_id=model.id if model else None,
            seen=forms.whole("seen"),
            adjudicates=bool(forms.text("adjudicates", needed=False)),
        )
        version = version_for(session, filters)
        here = worklist.standing_at(session, version.id, study_id, filters) if version else None
        done = readings.give(session, study, me, given)
        # Read inside the same transaction: the case just closed must not come back as the next one.
        session.flush()
        before, after = around(session, study_id, filters, here)
    acts.remember(done)
    flash(f"{isolated(study.label)}: {languages.said(said)}.", "good")
    # Above an open case there may be others that were passed over; a list of read ones is walked through once.
    emptied = filters.state in ("open", "disputed")
    onward = after or (before if emptied else None)
    if onward is None:
        flash(
            f"That was the last {filters.state} study of this list."
            if emptied
            else "That was the last study of this list.",
            "note",
        )
        return redirect(url_for("worklist.index", **filters.address()))
    return redirect(url_for("studies.show", study_id=onward, **filters.address()))


@blueprint.post("/undo")
@needs(Role.READER)
def undo() -> Response:
    """Take back this person's last verdict and open its study again."""
    kind, number = forms.text("kind", most=10), forms.whole("id")
    filters = asked()
    if kind not in ("review", "reading") or number is None:
        raise UsageError("That is no verdict to take back.")
    try:
        with db.write() as session:
            study = readings.undo(session, identity.signed_in().row, kind, number)
    except CxrscreenError:
        acts.forget(kind, number)
        raise
    acts.forget(kind, number)
    flash(f"Taken back. {isolated(study.label)} is open again.", "note")
    return redirect(url_for("studies.show", study_id=study.id, **filters.address()))


def _seconds() -> float | None:
    """How long the page was looked at, as its script counted; None where it did not run or says nothing sensible."""
    try:
        told = float(request.form.get("seconds", ""))
    except ValueError:
        return None
    return round(told, 1) if math.isfinite(told) and 0 <= told <= LONGEST else None
