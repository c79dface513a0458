"""The schedules: when the archive is read again, over what, with which version; and what came of each night."""

from __future__ import annotations

import zoneinfo
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from cxrscreen import db, hours, nights, registry, schedules
from cxrscreen.errors import CxrscreenError
from cxrscreen.schedules import Wish
from cxrscreen.settings import get_settings
from cxrscreen.tables import Schedule, now
from dashboard import forms, identity

blueprint = Blueprint("schedules", __name__, url_prefix="/schedules")

NIGHTS = 30
EXAMPLES = (
    ("0 22 * * *", "every night at 22:00"),
    ("30 1 * * 1-5", "at 01:30, Monday to Friday"),
    ("0 20 * * SAT", "on Saturdays at 20:00"),
    ("0 23 1 * *", "on the first of each month at 23:00"),
)


@blueprint.get("")
def index() -> str:
    moment = now()
    with db.read() as session:
        found = schedules.every(session)
        wishes = {row.id: schedules.wish_of(session, row) for row in found}
        past = nights.listed(session, NIGHTS)
    return render_template(
        "schedules.html",
        schedules=found,
        wishes=wishes,
        runs={row.id: schedules.next_runs(schedules.hours_of(row), moment, 1) for row in found if row.enabled},
        words={row.id: hours.explain(row.cron) for row in found},
        nights=past,
    )


@blueprint.get("/new")
def new() -> str:
    settings = get_settings()
    return _form(Wish(name="", timezone=settings.timezone, window_from="22:00", window_until="06:00"))


@blueprint.get("/<id:schedule_id>")
def edit(schedule_id: int) -> str:
    with db.read() as session:
        row = schedules.by_id(session, schedule_id)
        wish = schedules.wish_of(session, row)
    return _form(wish, row)


@blueprint.post("")
def add() -> Response | tuple[str, int]:
    return _save(None)


@blueprint.post("/<id:schedule_id>")
def change(schedule_id: int) -> Response | tuple[str, int]:
    with db.read() as session:
        row = schedules.by_id(session, schedule_id)
    return _save(row)


@blueprint.post("/<id:schedule_id>/remove")
def remove(schedule_id: int) -> Response:
    with db.write() as session:
        row = schedules.by_id(session, schedule_id)
        schedules.remove(session, row, identity.signed_in().row)
    flash(f"{row.name} is removed; what it screened stays.", "good")
    return redirect(url_for("schedules.index"))


def _save(row: Schedule | None) -> Response | tuple[str, int]:
    """Show what a form would do, or do it; a form that would never work comes back with the reason above it."""
    wish = _wish()
    try:
        if forms.text("do", needed=False) != "save":
            with db.read() as session:
                schedules.check(session, wish, bound=True)
            return _form(wish, row, looked=True), 200
        with db.write() as session:
            person = identity.signed_in().row
            if row is None:
                row = schedules.add(session, wish, person, bound=True)
            else:
                schedules.change(session, schedules.by_id(session, row.id), wish, person, bound=True)
    except CxrscreenError as error:
        return _form(wish, row, said=str(error)), error.http_status
    flash(f"{wish.name} is saved.", "good")
    return redirect(url_for("schedules.index"))


def _wish() -> Wish:
    def field(name: str, most: int = 100) -> str:
        return forms.text(name, most=most, needed=False)

    return Wish(
        name=field("name"),
        cron=field("cron"),
        timezone=field("timezone"),
        window_from=field("window_from"),
        window_until=field("window_until"),
        policy=field("policy") or "active",
        model=field("model") if field("policy") == "version" else "",
        since=field("since"),
        folder=field("folder", 1000),
        watch="watch" in request.form,
        job=field("job"),
        only=field("only") or "all",
        rate=field("rate"),
        enabled="enabled" in request.form,
    )


def _form(wish: Wish, row: Schedule | None = None, *, looked: bool = False, said: str = "") -> str:
    runs: list[Any] = []
    if looked:
        wanted = hours.check(wish.cron, wish.timezone, wish.window_from, wish.window_until)
        runs = schedules.next_runs(wanted, now())
    with db.read() as session:
        offered = _offered(session)
    return render_template(
        "schedule.html",
        wish=wish,
        row=row,
        runs=runs,
        words=hours.explain(wish.cron) if looked else "",
        said=said,
        examples=EXAMPLES,
        zones=sorted(zoneinfo.available_timezones()),
        roots=(*get_settings().allowed_roots, *get_settings().allowed_prefixes),
        **offered,
    )


def _offered(session: Session) -> dict[str, Any]:
    return {"versions": registry.every(session), "candidate": registry.newest_candidate(session)}
