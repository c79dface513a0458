"""Deleting a study, for administrators: first what goes with it, then the deed."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from cxrscreen import db, deletion, studies
from cxrscreen.tables import Role
from dashboard import forms, identity
from dashboard.security import needs

blueprint = Blueprint("deletion", __name__, url_prefix="/studies")


@blueprint.get("/<id:study_id>/delete")
@needs(Role.ADMIN)
def confirm(study_id: int) -> str:
    with db.read() as session:
        study = studies.get(session, study_id)
        going = deletion.extent(session, study)
    return render_template("study_delete.html", study=study, going=going)


@blueprint.post("/<id:study_id>/delete")
@needs(Role.ADMIN)
def delete(study_id: int) -> Response:
    why = forms.text("why", most=500)
    with db.write() as session:
        going = deletion.delete_study(session, study_id, identity.signed_in().row, why)
    flash(f"Study {study_id} is deleted, with {going.images} images and {going.verdicts} verdicts.", "good")
    return redirect(url_for("worklist.index"))
