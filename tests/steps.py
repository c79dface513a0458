"""Small pictures, a job over a folder of them, and its screening, called in the test's process as the tasks call it."""

from __future__ import annotations

import functools
import io
from pathlib import Path

from PIL import Image as Picture
from sqlalchemy import func, select

from cxrscreen import db, jobs
from cxrscreen.imaging import phantoms
from cxrscreen.tables import Batch, BatchState, Entry, EntryStatus, JobKind
from worker import screen


@functools.cache
def png(seed: int, kind: str = "normal") -> bytes:
    file = io.BytesIO()
    Picture.fromarray(phantoms.phantom(kind, seed=seed, side=160)).save(file, "PNG")
    return file.getvalue()


def job_over(path: Path, model_id: int, kind: JobKind = JobKind.FOLDER) -> int:
    with db.write() as session:
        sources = [{"path": str(path), "label": path.name}]
        return jobs.create(session, kind, "a test", model_id, sources=sources).id


def entries_of(job_id: int) -> dict[str, EntryStatus]:
    with db.read() as session:
        rows = session.scalars(select(Entry).where(Entry.job_id == job_id).order_by(Entry.id))
        return {row.name: row.status for row in rows}


def screen_all(rounds: int = 60) -> None:
    for _ in range(rounds):
        with db.read() as session:
            if not session.scalar(select(func.count()).where(Batch.state != BatchState.DONE)):
                return
        screen.run()
    raise AssertionError("batches are open for ever")
