"""`demo`: the whole path on phantoms, in front of you."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from cxrscreen.cli.common import open_database, print_account, wait_for
from cxrscreen.cli.later import later
from cxrscreen.cli.learn import run_training
from cxrscreen.cli.serve import first_start
from cxrscreen.cli.terminal import NOTICE, err, out, show
from cxrscreen.errors import StackError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from cxrscreen import blobs, db, local, registry, settings, tables, users, worklist
    from cxrscreen.imaging import phantoms
else:
    blobs, db, local, registry = later("blobs", "db", "local", "registry")
    settings, tables, users, worklist, phantoms = later("settings", "tables", "users", "worklist", "imaging.phantoms")

SEED = 2020
TRAIN_PER_CLASS = 80
ARCHIVE_PER_CLASS = 12


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Leave once the flagged studies are shown.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the dashboard; 0 takes a free one.")
def demo(leave: bool, port: int) -> None:
    """See it work in minutes, on synthetic pictures.

    Draws phantoms, trains a small model on them in front of you, starts the whole stack, uploads an archive and shows
    the flagged studies.

    Everything is synthetic: the model and its scores mean nothing for real pictures. Keeps its files in a folder of its
    own (CXRSCREEN_DATA_DIR with "-demo" at its end).
    """
    own = _own_folder()
    stack = local.Stack(own, port=port)
    if local.is_running(own):
        stack.start()  # says who holds the folder
    folder = own.data_dir / "phantoms"
    index, archive = _draw(folder)
    bundle = _train(index, folder / "bundle")

    open_database(keyed=True)
    first_start(shipped=False)  # a phantom model alone: a real one has no place among phantoms
    with db.write() as session:
        version = registry.register(session, blobs.store(), bundle, name=f"phantom-{time.strftime('%Y%m%d-%H%M%S')}")
        registry.activate(session, version, "demo")
        admin = _administrator(session)
        tokens = [users.make_link(session, admin) for _ in range(2)]
    out.print(f"   registered and active: {version.name} (a phantom model)")

    out.print("[bold]3. The stack[/]: Redis, ingest worker, screening worker, beat, dashboard")
    with stack.heed_signals():
        stack.start()
        try:
            with err.status("Starting"):
                stack.wait_ready()
            out.print(f"[bold]4. Upload[/]: {archive.name}, over HTTP as a browser does")
            job_id = _upload(stack.address, tokens[0], archive)
            state = wait_for(job_id, stack)
            print_account(state)
            if state["error"] or state["failed"]:
                raise StackError(f"The demo's job did not end well: {state['error'] or state['reasons']}")
            _show_flagged(version.id, job_id)
            out.print(f"[bold]Dashboard:[/] {stack.address}")
            if leave:
                return
            out.print(f"Sign in (once, within the hour): {stack.address}/enter/{tokens[1]}", markup=False)
            out.print(f"{NOTICE} Ctrl-C ends the demo.", style="dim")
            stack.supervise()
        finally:
            with err.status("Ending"):
                stack.stop()


def _draw(folder: Path) -> tuple[Path, Path]:
    """An INDEX to train on, and an archive to screen."""
    out.print("[bold]1. Phantoms[/]: synthetic frontal chests, drawn from a seed")
    shutil.rmtree(folder, ignore_errors=True)
    index = phantoms.write_index(folder / "train", per_class=TRAIN_PER_CLASS, seed=SEED)
    archive = folder / "night-shift.zip"
    phantoms.write_archive(archive, per_class=ARCHIVE_PER_CLASS, seed=SEED + 1)
    out.print(f"   {3 * TRAIN_PER_CLASS} to learn from; {archive.name} with DICOM, PNG and JPEG to screen")
    return index, archive


def _train(index: Path, target: Path) -> Path:
    from models.learning.recipes import (
        TrainOptions,  # torch takes seconds to import; `cxrscreen --help` need not wait for it
    )

    out.print("[bold]2. DeTraC[/]: decompose the classes, transfer to the subclasses, compose")
    # The network is small: a second thread gains nothing, and on a busy machine the two wait for each other.
    return run_training(index, target, TrainOptions(recipe="phantom", phantom=True, seed=SEED, threads=1))


def _own_folder() -> settings.Settings:
    """The demo never mixes its phantoms with real data: a folder, database, broker, store and key of its own."""
    folder = settings.get_settings().data_dir.absolute()
    return _use_settings(folder.with_name(f"{folder.name}-demo"))


def _use_settings(folder: Path) -> settings.Settings:
    for name in ("DATABASE_URL", "REDIS_URL", "STORE_URL", "PSEUDONYM_KEY"):
        os.environ.pop(f"CXRSCREEN_{name}", None)
    os.environ["CXRSCREEN_DATA_DIR"] = str(folder)
    settings.get_settings.cache_clear()
    return settings.get_settings()


def _administrator(session: Session) -> tables.User:
    from sqlalchemy import select

    wanted = tables.User.role == tables.Role.ADMIN
    user = session.scalar(select(tables.User).where(wanted).order_by(tables.User.id).limit(1))
    assert user is not None
    return user


def _upload(address: str, token: str, archive: Path) -> int:
    """Sign in by the link, read the form's token as a browser would, post the file; answers the job's id."""
    import httpx

    with httpx.Client(base_url=address, follow_redirects=True, timeout=60) as browser:
        page = browser.post(f"/enter/{token}", data=_hidden(browser.get(f"/enter/{token}").text))
        page.raise_for_status()
        form = browser.get("/uploads")
        form.raise_for_status()
        with archive.open("rb") as file:
            answer = browser.post(
                "/uploads",
                data=_hidden(form.text),
                files={"files": (archive.name, file, "application/zip")},
                headers={"Accept": "application/json", "Referer": f"{address}/uploads"},
            )
        answer.raise_for_status()
        said: dict[str, Any] = answer.json()
        return int(said["job"])


def _hidden(page: str) -> dict[str, str]:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    if not found:
        raise StackError("The dashboard's form has no token.")
    return {"csrf_token": found.group(1)}


def _show_flagged(version_id: int, job_id: int) -> None:
    with db.read() as session:
        limit = registry.threshold(session, version_id)
        total = worklist.flagged_count(session, version_id, limit, worklist.Filters(state="all", job=job_id))
        lines = worklist.page(
            session, version_id, limit, worklist.Filters(state="all", job=job_id), limit=10, bare=True
        )
    out.print(f"[bold]5. Flagged[/]: {total} studies at or over the threshold of {limit:.3f}")
    table = Table("score", "class", "subclass", "study", box=None, pad_edge=False)
    for line in lines:
        table.add_row(f"{line.result.score:.3f}", line.result.label, line.result.subclass, line.study.label)
    if total > len(lines):
        table.add_row("", "", "", f"and {total - len(lines)} more")
    show(table)
