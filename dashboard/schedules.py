"""The nights: at what time of day the archive is screened again with the active model."""

from __future__ import annotations

import zoneinfo

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from cxrscreen import db, schedules
from cxrscreen.tables import Job, JobKind, now
from dashboard import forms, identity

blueprint = Blueprint("schedules", __name__, url_prefix="/schedules")

NIGHTS = 20


@blueprint.get("")
def index() -> str:
    moment = now()
    with db.read() as session:
        found = schedules.every(session)
        nights = list(
            session.scalars(select(Job).where(Job.kind == JobKind.NIGHTLY).order_by(Job.id.desc()).limit(NIGHTS))
        )
    return render_template(
        "schedules.html",
        schedules=found,
        due={row.id: schedules.next_due(row, moment) for row in found if row.enabled},
        nights=nights,
        zones=sorted(zoneinfo.available_timezones()),
    )


@blueprint.post("")
def add() -> Response:
    with db.write() as session:
        row = schedules.add(
            session, forms.text("name"), forms.text("at"), forms.text("timezone"), identity.signed_in().row
        )
    flash(f"{row.name} begins at {row.at} {row.timezone}.", "good")
    return redirect(url_for("schedules.index"))


@blueprint.post("/<id:schedule_id>")
def change(schedule_id: int) -> Response:
    with db.write() as session:
        row = schedules.by_id(session, schedule_id)
        schedules.change(
            session,
            row,
            at=forms.text("at"),
            timezone=forms.text("timezone"),
            enabled="enabled" in request.form,
            actor=identity.signed_in().row,
        )
    flash(f"{row.name}: {row.at} {row.timezone}, {'on' if row.enabled else 'off'}.", "good")
    return redirect(url_for("schedules.index"))
