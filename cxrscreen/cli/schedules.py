"""`schedules`: when the archive is read again, and what came of each night."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from cxrscreen.cli.common import open_database
from cxrscreen.cli.later import later
from cxrscreen.cli.terminal import out, show
from cxrscreen.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from cxrscreen import audit, db, nights, schedules, tables
    from cxrscreen.schedules import Wish
else:
    audit, db, nights, schedules, tables = later("audit", "db", "nights", "schedules", "tables")

ACTOR = "command line"
NIGHTS = 10
ONLY = click.Choice(["all", "flagged", "unflagged"])
OPTIONS = (
    click.option("--cron", help="When a run begins: minute hour day month weekday, such as '0 22 * * 1-5'."),
    click.option("--timezone", help="IANA name, such as Europe/Minsk."),
    click.option("--window", help="Hours it may work in, such as 22:00-06:00; 'none': until it is done."),
    click.option("--model", help="'active', 'candidate' (the newest, in shadow), or the name of a version."),
    click.option("--since", help="Only images that came in on this day or later (UTC), or 'none'."),
    click.option("--job", help="Only the images of this job, or 'none'."),
    click.option(
        "--only",
        type=ONLY,
        help="What the active version flagged, or did not.",
    ),
    click.option("--folder", help="Read this folder or s3:// prefix instead of the archive; or 'none'."),
    click.option("--watch/--whole", default=None, help="Of the folder: just what is new each time, or all of it."),
    click.option("--rate", help="Images a minute at most, or 'none'."),
    click.option("--on/--off", "enabled", default=None, help="Whether its runs begin at all."),
)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group("schedules")
def schedules_group() -> None:
    """When the archive is read again, night by night.

    List and change the schedules, and see what came of each night.
    """


@schedules_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_schedules(as_json: bool) -> None:
    """List the schedules, their next runs and the latest nights."""
    open_database()
    with db.read() as session:
        rows = [_told(session, row) for row in schedules.every(session)]
        past = nights.listed(session, NIGHTS)
    if as_json:
        titles = ("schedule", "window", "state", "job", "reason")
        said = [(name, night.window, night.state.value, night.job_id, night.reason) for night, name, _ in past]
        told = [dict(zip(titles, row, strict=True)) for row in said]
        click.echo(json.dumps({"schedules": rows, "nights": told}, indent=2))
        return
    if not rows:
        out.print("No schedules yet. `cxrscreen schedules add NAME` makes one.")
    for row in rows:
        out.print(f"{row['name']}: {row['cron']} {row['timezone']}{'' if row['enabled'] else ' (off)'}", markup=False)
        for title in ("window", "model", "scope", "rate"):
            if row[title]:
                out.print(f"  {title} {row[title]}", markup=False)
        out.print(f"  next {', '.join(row['next'])}" if row["enabled"] else "  next: never, it is off", markup=False)
    if past:
        table = Table(*("night", "schedule", "state", "job", "reason"), box=None, pad_edge=False)
        for night, name, _ in past:
            table.add_row(night.window, name, night.state.value, str(night.job_id or ""), night.reason)
        show(table)


@schedules_group.command("add")
@click.argument("name")
@_options
def add_schedule(name: str, **typed: Any) -> None:
    """Make a schedule.

    Without options: every night at 22:00 UTC, over everything, with the active version.
    """
    open_database()
    with db.write() as session:
        row = schedules.add(session, _wish(schedules.Wish(name), typed), ACTOR)
        told = _told(session, row)
    out.print(f"{name}: next {', '.join(told['next'])}", markup=False)


@schedules_group.command("edit")
@click.argument("name")
@_options
def edit_schedule(name: str, **typed: Any) -> None:
    """Change what is named and leave the rest."""
    open_database()
    with db.write() as session:
        row = schedules.by_name(session, name)
        schedules.change(session, row, _wish(schedules.wish_of(session, row), typed), ACTOR)
        told = _told(session, row)
    out.print(f"{name}: next {', '.join(told['next'])}", markup=False)


@schedules_group.command("remove")
@click.argument("name")
def remove_schedule(name: str) -> None:
    """Remove a schedule and its nights.

    Its jobs and their results stay.
    """
    open_database()
    with db.write() as session:
        schedules.remove(session, schedules.by_name(session, name), ACTOR)
    out.print(f"{name} is removed", markup=False)


@schedules_group.command("run")
@click.argument("name")
def run_schedule(name: str) -> None:
    """Begin a run of a schedule now.

    The work is done by a stack that runs (`cxrscreen up`).
    """
    from worker import nightly  # Celery and the settings of a worker, which no other command of the group wants

    open_database()
    with db.write() as session:
        row = schedules.by_name(session, name)
        audit.record(session, ACTOR, "schedule.run", f"schedule {row.id}", name=name)
    moment = tables.now().replace(microsecond=0)
    job_id = nightly.begin(row, moment)
    with db.read() as session:
        night, _, _ = nights.listed(session, 1, row.id)[0]
    if job_id is None:
        raise UsageError(
            night.reason if night.state != tables.NightState.OPEN else f"{name} began a run within this minute."
        )
    out.print(f"job {job_id}: {night.window.replace('T', ' ')}", markup=False)


def _wish(before: Wish, typed: dict[str, Any]) -> Wish:
    given: dict[str, Any] = {key: "" if value == "none" else value for key, value in typed.items() if value is not None}
    if given.get("folder") == "":
        given.setdefault("watch", False)
    window, model = given.pop("window", None), given.pop("model", None)
    if window is not None:
        begin, dash, end = window.partition("-")
        if window and not dash:
            raise UsageError(f"A window looks like 22:00-06:00, not {window!r}.")
        given |= {"window_from": begin, "window_until": end}
    if model is not None:
        named = model not in (tables.ModelPolicy.ACTIVE, tables.ModelPolicy.CANDIDATE)
        given |= {"policy": "version", "model": model} if named else {"policy": model, "model": ""}
    return replace(before, **given)


def _told(session: Session, row: tables.Schedule) -> dict[str, Any]:
    wish = schedules.wish_of(session, row)
    return {
        "name": row.name,
        "cron": row.cron,
        "timezone": row.timezone,
        "window": f"{row.window_from}-{row.window_until}" if row.window_from else None,
        "model": wish.model or wish.policy,
        "scope": ", ".join(f"{key} {value}" for key, value in row.scope.items()) or None,
        "rate": row.rate,
        "enabled": row.enabled,
        "next": [f"{at:%Y-%m-%d %H:%M %Z}" for at, _ in schedules.next_runs(schedules.hours_of(row), tables.now())],
    }
