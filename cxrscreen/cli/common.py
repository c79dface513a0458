"""What several commands need: a database at its head, a model to screen with, a progress bar that waits for a job."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cxrscreen.cli.later import later
from cxrscreen.cli.terminal import err, out
from cxrscreen.errors import BundleDamaged, NoModel, StackError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from cxrscreen import (
        blobs,
        db,
        imaging,
        jobs,
        keymark,
        local,
        outlook,
        programs,
        registry,
        schema,
        settings,
        tables,
    )
else:
    blobs, db, imaging, jobs, keymark, local = later("blobs", "db", "imaging", "jobs", "keymark", "local")
    outlook, programs, registry = later("outlook", "programs", "registry")
    schema, settings, tables = later("schema", "settings", "tables")

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "bundles"


def open_database(*, keyed: bool = False) -> None:
    """Bring the embedded database to its head; a database elsewhere is upgraded only when somebody says so.

    A `keyed` command makes or reads pseudonyms, or starts who does: raises UsageError unless the key is the database's.
    """
    _make_data_folder()
    engine = db.get_engine()
    if engine.dialect.name == "sqlite":
        schema.upgrade(engine)
    elif schema.current(engine) != schema.head():
        raise UsageError(keymark.BEHIND)
    if keyed:
        keymark.need_ours()


def _make_data_folder() -> None:
    folder = settings.get_settings().data_dir.absolute()
    try:
        # Pictures and names of patients: what we make is closed to others, what somebody made stays as they want it.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UsageError(
            f"The data folder {folder} cannot be used ({error.strerror}): set CXRSCREEN_DATA_DIR to one you may write."
        ) from None


def check_device() -> None:
    """Before workers are started here: a graphics card that was asked for and is not there ends them one by one."""
    if settings.get_settings().device.startswith("cuda"):  # the import takes seconds
        from models.device import pick_device
        from models.errors import ModelsError

        try:
            pick_device(settings.get_settings().device)
        except ModelsError as error:
            raise UsageError(f"CXRSCREEN_DEVICE: {error}") from None


def choose_model(session: Session, wanted: str | None = None) -> tables.ModelVersion:
    """`--model` names a registered version or a bundle folder; without it the active version counts, and with an
    empty registry the bundle that is shipped."""
    if wanted:
        if Path(wanted).is_dir():
            check_bundle(Path(wanted))
            return registry.register(session, blobs.store(), Path(wanted))
        return registry.get(session, wanted)
    version = registry.active(session) or install_shipped(session)
    if version is None:
        if registry.every(session):
            return registry.need_active(session)
        raise NoModel("There is no model: train one (`cxrscreen train`) or name one with --model.")
    return version


def check_bundle(folder: Path) -> None:
    """Raise BundleDamaged unless the folder's network can be built and filled; what the workers would find out late."""
    from models import bundle  # torch takes seconds to import

    try:
        bundle.load(folder)
    except bundle.BundleError as error:
        raise BundleDamaged(str(error)) from None


def install_shipped(session: Session) -> tables.ModelVersion | None:
    """Register and activate the shipped bundle where the registry is empty."""
    if registry.every(session):
        return registry.active(session)
    for record in sorted(SHIPPED.glob("*/bundle.json")):
        version = registry.register(session, blobs.store(), record.parent, actor="first start")
        registry.activate(session, version, "first start")
        return version
    return None


def wait_for(job_id: int, stack: local.Stack | None, *, quiet: bool = False) -> dict[str, object]:
    """Show a job's progress until it ends; answers its last `jobs.progress`.

    Where the stack that did the work ends before the job, another is started.
    """
    own: local.Stack | None = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    try:
        with Progress(*columns, console=err, disable=quiet, transient=False) as bar:
            task = bar.add_task("starting", total=None, note="")
            while True:
                with db.read() as session:
                    job = jobs.get(session, job_id)
                    state = jobs.progress(session, job)
                bar.update(
                    task,
                    description="screening" if job.started_at else "starting",
                    total=state["found"] if state["listed"] else None,
                    completed=state["found"] - state["waiting"],
                    note=_note(state),
                )
                if job.state not in jobs.OPEN:
                    return state
                if stack is not None and not stack.alive():
                    raise StackError(f"The stack ended before the job did; see {stack.logs}.")
                if stack is None and own is None and not _served():
                    own = local.Stack(settings.get_settings(), programs.WITHOUT_PAGES)
                    own.start()
                time.sleep(0.3)
    finally:
        if own is not None:
            own.stop()


def _served() -> bool:
    asked = settings.get_settings()
    return local.is_running(asked) or bool(asked.redis_url)


def left_of(state: dict[str, Any]) -> str:
    """The outlook of a `jobs.progress` in words; empty where nobody can say."""
    return outlook.said(state["seconds_left_low"], state["seconds_left_high"], state["seconds_left"])


def _note(state: dict[str, object]) -> str:
    parts = []
    if state["rate"]:
        parts.append(f"{state['rate']:.1f}/s")
    if left := left_of(state):
        parts.append(left)
    if state["state"] == tables.JobState.PAUSED:
        parts.append("paused")
    return ", ".join(parts)


def print_account(state: dict[str, object]) -> None:
    """The sum of law 4, and a line for each reason."""
    parts = " + ".join(
        f"{state[name]} {name}"
        for name in ("scored", "rejected", "duplicate", "failed", "cancelled", "waiting")
        if state[name] or name == "scored"
    )
    out.print(f"{state['found']} found = {parts}")
    if state.get("unchanged") is not None:
        out.print(f"left out: {state['unchanged']} unchanged, {state['unsettled']} still written to")
    reasons = state["reasons"]
    assert isinstance(reasons, dict)
    wide = max((len(reason) for reason in reasons), default=0)
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        out.print(f"{count:>6}  {reason:{wide}}  {imaging.sentence(reason)}", markup=False)
