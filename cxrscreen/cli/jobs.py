"""`jobs`, `job`: what was asked for, what became of it, and what may be done to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from cxrscreen.cli.archive import ROW_FILE, write_rows
from cxrscreen.cli.common import left_of, open_database, print_account
from cxrscreen.cli.later import later
from cxrscreen.cli.terminal import answered, err, out, show
from cxrscreen.errors import UsageError

if TYPE_CHECKING:
    from cxrscreen import blobs, db, jobs, queue, retries, settings, timeline, uploaded
else:
    blobs, db, jobs, queue, retries = later("blobs", "db", "jobs", "queue", "retries")
    settings, timeline, uploaded = later("settings", "timeline", "uploaded")

ACTOR = "command line"


@click.command("jobs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def jobs_table(as_json: bool) -> None:
    """List the latest jobs, and what became of their files."""
    open_database()
    with db.read() as session:
        states = [jobs.progress(session, job) for job in jobs.latest(session)]
    if answered(states, as_json, "No jobs yet. `cxrscreen screen FOLDER` makes one."):
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "state", "kind", "found", "scored", "rejected", "failed", "waiting", "outlook", "title"):
        table.add_column(column, justify="left" if column in ("state", "kind", "outlook", "title") else "right")
    for state in states:
        told = {**state, "outlook": left_of(state)}
        table.add_row(*(str(told[str(column.header)]) for column in table.columns))
    show(table)


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@click.option("--cancel", is_flag=True, help="End it; what waits is cancelled.")
@click.option("--pause", is_flag=True, help="Stop after the batch in hand.")
@click.option("--resume", is_flag=True, help="Go on with a paused one.")
@click.option("--retry", is_flag=True, help="Let what failed or was cancelled wait again.")
@click.option("--clear-uploads", is_flag=True, help="Clear its uploaded files; what stands in them alone is given up.")
@click.option("--yes", is_flag=True, help="Do not ask before the uploaded files are cleared.")
@click.option("--out", "target", type=ROW_FILE, help="Write its rows here, as `screen --out` does.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def job(job_id: int, target: Path | None, as_json: bool, yes: bool, **actions: bool) -> None:
    """Show a job, or cancel, pause, resume, retry or clear it.

    ID is its number in `cxrscreen jobs`. Tells what became of its files, how long it will take, and what happened to
    it (times are UTC).
    """
    asked = [name.replace("_", "-") for name, wanted in actions.items() if wanted]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} at once cannot be: ask for one of them.")
    open_database()
    _act(job_id, asked[0] if asked else "", yes)
    if target is not None:
        write_rows(job_id, target)
    with db.read() as session:
        row = jobs.get(session, job_id)
        state = jobs.progress(session, row)
        past = timeline.events(session, row)
    if as_json:
        events = [{"at": e.at.isoformat(), "what": e.what, "actor": e.actor, "detail": e.detail} for e in past]
        click.echo(json.dumps({**state, "events": events}, indent=2))
        return
    out.print(f"job {job_id}: {state['state']}, {state['title']}", markup=False)
    if state["error"]:
        out.print(str(state["error"]), style="red", markup=False)
    print_account(state)
    if left := left_of(state):
        out.print(f"{state['rate']:.1f} images a second, {left}", markup=False)
    for event in past:
        who = f" by {event.actor}" if event.actor else ""
        out.print(f"  {event.at:%Y-%m-%d %H:%M:%S} {event.words}{who}  {event.detail}".rstrip(), markup=False)


def _act(job_id: int, action: str, yes: bool) -> None:
    if action == "clear-uploads":
        _clear(job_id, yes)
        return
    cleared = 0
    with db.write() as session:
        jobs.get(session, job_id)
        if action == "retry":
            cleared = retries.failed(session, job_id, ACTOR).cleared
        elif action:
            getattr(jobs, action)(session, job_id, ACTOR)
    if cleared:
        err.print(f"Entries that stood in an uploaded file which was cleared: {cleared}. Upload it again to try them.")
    if action in ("retry", "resume") and settings.get_settings().broker:
        queue.submit(queue.INGEST, job_id)


def _clear(job_id: int, yes: bool) -> None:
    with db.read() as session:
        row = jobs.get(session, job_id)
        standing, stake = uploaded.standing(session, row), uploaded.stake(session, row)
    text = f"Clear the uploaded files of job {job_id} (files: {standing.files}, {standing.bytes:,} bytes)?"
    if stake.count:
        text += f" Entries that cannot be tried again without them: {_counts(stake.entries)}."
    if stake.unread:
        text += " The job ended before it had surely read everything: what it has not found is given up, too."
    if not yes:
        click.confirm(f"{text} This cannot be undone.", abort=True)
    gone = uploaded.clear(blobs.store(), job_id, ACTOR)
    given_up = f"; given up: {_counts(gone.entries)}" if gone.entries else ""
    err.print(f"Uploaded files cleared: {gone.files}, {gone.bytes:,} bytes{given_up}.", markup=False)
    if gone.stay:
        err.print(
            f"The store lacks the original of a picture that came in: {uploaded.named(gone.stay)}. They stay.",
            markup=False,
        )


def _counts(entries: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in entries.items())
