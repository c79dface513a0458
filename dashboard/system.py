"""How the parts do: heartbeats of the workers, what waits, the store, the disk; and /healthz for a supervisor."""

from __future__ import annotations

import logging
import shutil

from flask import Blueprint, Response, jsonify, render_template
from flask_babel import gettext
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cxrscreen import batches, blobs, db, drift, nights, queue, usage
from cxrscreen.settings import get_settings
from cxrscreen.tables import User, Worker
from cxrscreen.workers import QUIET

blueprint = Blueprint("system", __name__)

NIGHTS = 7
QUEUES = {"ingest": queue.INGEST, "screen": queue.SCREEN, "control": queue.SWEEP}

log = logging.getLogger(__name__)


@blueprint.get("/healthz")
def healthz() -> tuple[Response, int]:
    """200 where the database answers and has its tables, else 503. Says nothing to strangers but that."""
    try:
        with db.read() as session:
            session.scalar(select(User.id).limit(1))
    except (SQLAlchemyError, OSError) as error:
        log.error("The database does not answer: %s", error)
        return jsonify(status="down", database=False), 503
    return jsonify(status="ok", database=True), 200


@blueprint.get("/system")
def index() -> str:
    settings = get_settings()
    with db.read() as session:
        workers = list(session.scalars(select(Worker).order_by(Worker.role, Worker.name)))
        moment = db.clock(session)
        open_batches = batches.open_count(session)
        alerts = drift.alerts(session)
        past = nights.listed(session, NIGHTS)
        database = session.get_bind().dialect.name
        room_taken = _room_taken(session)
    answers = queue.answers()
    disk = shutil.disk_usage(settings.data_dir) if settings.data_dir.exists() else None
    return render_template(
        "system.html",
        workers=workers,
        quiet={worker.name for worker in workers if moment - worker.seen_at > QUIET},
        roles={worker.role for worker in workers if moment - worker.seen_at <= QUIET},
        open_batches=open_batches,
        alerts=alerts,
        nights=past,
        database={"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(database, database),
        broker=answers,
        waiting={name: queue.length(task) for name, task in QUEUES.items()} if answers else {},
        store=_store_state(),
        disk=disk,
        room_taken=room_taken,
    )


def _room_taken(session: Session) -> list[usage.Part]:
    try:
        return usage.parts(session, blobs.store())
    except Exception as error:  # of a store that is away the line above tells
        log.warning("What takes the room cannot be told: %s", error)
        return []


def _store_state() -> str:
    """Where the store is, and whether it answers."""
    scheme = get_settings().store.partition(":")[0]
    kind = gettext("on this disk") if scheme == "file" else scheme
    if store_answers():
        return str(gettext("answers (%(kind)s)", kind=kind))
    return str(gettext("does not answer (%(kind)s)", kind=kind))


def store_answers() -> bool:
    """Object stores fail in ways of their own, so all are told alike."""
    try:
        blobs.store().exists("models", "0" * 64)
    except Exception as error:
        log.warning("The store does not answer: %s", error)
        return False
    return True
