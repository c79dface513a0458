"""Drift: each night's results of a version beside its reference, and the alerts that stand until somebody looked."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from cxrscreen import db, drift
from cxrscreen.errors import NotFound
from cxrscreen.tables import Alert
from dashboard import forms, identity
from dashboard.models import get_version

blueprint = Blueprint("drift", __name__)

PARTS = (("scores", "Scores"), ("subclasses", "Subclasses"), ("distances", "Distance to what was seen in training"))


@blueprint.get("/models/<id:version_id>/drift")
def show(version_id: int) -> str:
    """The latest night, or the one asked for, over the line of all of them."""
    wanted = forms.query_whole("night")
    with db.read() as session:
        version = get_version(session, version_id)
        measured = drift.history(session, version_id)
        waiting = [alert for alert in drift.alerts(session) if alert.model_version_id == version_id]
    chosen = next((row for row in measured if row.id == wanted), None)
    if wanted is not None and chosen is None:
        raise NotFound(f"There is no measurement {wanted} of this version.")
    return render_template(
        "drift.html",
        version=version,
        measured=measured,
        chosen=chosen or (measured[0] if measured else None),
        alerts=waiting,
        parts=PARTS,
        bounds=(drift.WATCH, drift.ALERT),
        least=drift.LEAST,
        shares=_shares,
    )


@blueprint.post("/alerts/<id:alert_id>/seen")
def see(alert_id: int) -> Response:
    with db.write() as session:
        alert = session.get(Alert, alert_id)
        if alert is None:
            raise NotFound(f"There is no alert {alert_id}.")
        drift.see(session, alert, identity.signed_in().row)
        version_id = alert.model_version_id
    flash("The alert is marked as seen; the measurement stays.", "good")
    return redirect(url_for("drift.show", version_id=version_id) if version_id else url_for("system.index"))


def _shares(counts: list[int]) -> list[float]:
    return [count / sum(counts) if sum(counts) else 0.0 for count in counts]
