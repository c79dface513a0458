"""`screen`, `rescreen`: archives in, tables out."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxrscreen.cli.common import check_device, choose_model, open_database, print_account, wait_for
from cxrscreen.cli.later import later
from cxrscreen.cli.targets import TargetFile
from cxrscreen.cli.terminal import NOTICE, err, out
from cxrscreen.errors import NotFound
from cxrscreen.formulas import harmless

if TYPE_CHECKING:
    from cxrscreen import db, entries, jobs, local, queue, registry, settings, sources, tables, worklist
else:
    db, entries, jobs, local, queue, registry = later("db", "entries", "jobs", "local", "queue", "registry")
    settings, sources, tables, worklist = later("settings", "sources", "tables", "worklist")

ROWS = 1000
ROW_FILE = TargetFile(".csv", ".parquet")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--model", metavar="M", help="A registered model version or a bundle folder; default: the active one.")
@click.option("--out", "target", type=ROW_FILE, help="Write one row for each file or archive member here.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def screen(paths: tuple[str, ...], model: str | None, target: Path | None, as_json: bool) -> None:
    """Screen folders, archives, files and s3:// prefixes.

    Waits for the end, with a bar; the results stay in the database, and --out writes them to a file. Goes through the
    same workers and tables as the dashboard, and starts what is needed if nothing runs. Exit status: 0 every file is
    accounted for, refused ones too; 1 something failed, or a PATH could not be opened.
    """
    missing = [path for path in paths if not _can_be_read(path)]
    for path in missing:
        err.print(f"cxrscreen: {path} cannot be opened", style="red", markup=False)
    found = [path for path in paths if path not in missing]
    if not found:
        raise click.exceptions.Exit(1)
    open_database(keyed=True)
    _check_workers()
    with db.write() as session:
        version = choose_model(session, model)
        job = jobs.create(
            session,
            tables.JobKind.COMMAND,
            ", ".join(found)[:200],
            version.id,
            sources=[{"path": sources.named(path), "label": path.rstrip("/") or "/"} for path in found],
        )
    status = _follow(job, target, as_json)
    raise click.exceptions.Exit(1 if missing else status)


def _can_be_read(path: str) -> bool:
    if not sources.is_url(path):
        return os.access(path, os.R_OK)
    try:
        return bool(sources.named(path))
    except NotFound:
        return False


@click.command()
@click.option("--model", metavar="M", help="A registered model version or a bundle folder; default: the active one.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only images that came in on this day or later (UTC).")
@click.option("--out", "target", type=ROW_FILE, help="Write one row for each image here.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def rescreen(model: str | None, since: datetime | None, target: Path | None, as_json: bool) -> None:
    """Screen the archive again with another model.

    Reads every image that came in before and that the model version has not answered for yet.
    """
    open_database(keyed=True)
    _check_workers()
    with db.write() as session:
        version = choose_model(session, model)
        scope = {"since": since.replace(tzinfo=UTC).isoformat()} if since else {}
        job = jobs.create(session, tables.JobKind.RESCREEN, f"The archive with {version.name}", version.id, scope=scope)
    raise click.exceptions.Exit(_follow(job, target, as_json))


def _check_workers() -> None:
    """Before there is a job: the workers that this command would start can run."""
    if local.is_running():
        return
    check_device()
    local.need_broker(settings.get_settings())


def _follow(job: tables.Job, target: Path | None, as_json: bool) -> int:
    """Wait for a job, write its rows, print the summary; answers the exit status."""
    try:
        with local.borrowed(settings.get_settings()) as stack:
            if stack is None:
                queue.submit(queue.INGEST, job.id)
            else:
                with err.status("Starting the workers"):
                    stack.wait_ready()
                queue.submit(queue.INGEST, job.id)
            state = wait_for(job.id, stack, quiet=not err.is_terminal)
    except KeyboardInterrupt:
        err.print(
            f"Interrupted; nothing is lost. Job {job.id} goes on with the next stack (`cxrscreen up`); "
            f"`cxrscreen job {job.id} --cancel` ends it."
        )
        raise
    if target is not None:
        write_rows(job.id, target)
    with db.read() as session:
        version = registry.get(session, str(job.model_version_id))
        limit = registry.threshold(session, version.id)
        flagged = worklist.flagged_count(session, version.id, limit, worklist.Filters(state="all", job=job.id))
    summary = {
        **state,
        "model": version.name,
        "phantom": version.phantom,
        "threshold": limit,
        "flagged_studies": flagged,
    }
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        print_account(state)
        label = " (a phantom model: its scores mean nothing for real pictures)" if version.phantom else ""
        out.print(f"{flagged} studies flagged at threshold {limit:.3f} by {version.name}{label}", markup=False)
        if target is not None:
            out.print(f"Rows: {target}", markup=False)
        out.print(NOTICE, style="dim")
    if state["error"]:
        err.print(f"cxrscreen: {state['error']}", style="red", markup=False)
    return 0 if state["state"] == tables.JobState.DONE and not state["failed"] else 1


def write_rows(job_id: int, target: Path) -> None:
    """Write beside the target and rename, so that a file that is there is whole."""
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with db.read() as session:
            rows = entries.rows(session, job_id)
            first = list(islice(rows, 1))
            names = list(first[0]) if first else ["file", "status"]
            if target.suffix == ".csv":
                with fresh.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                    writer = csv.DictWriter(file, names)
                    writer.writeheader()
                    writer.writerows({key: harmless(value) for key, value in row.items()} for row in chain(first, rows))
            else:
                _write_parquet(fresh, names, chain(first, rows))
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _write_parquet(path: Path, names: list[str], rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(name: str) -> Any:
        if name == "score" or name.startswith("p_"):
            return pa.float64()
        return pa.bool_() if name == "flagged" else pa.string()

    schema = pa.schema([(name, kind(name)) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        while page := list(islice(rows, ROWS)):
            writer.write_table(pa.Table.from_pylist(page, schema=schema))
