"""Ingest: walk a job's sources, answer for every file, store what is accepted, cut batches for the screening workers.

Works in slices. Each slice is registered (its entries are rows that wait), read, and committed as a whole; a kill
between costs that slice's work and nothing else, because the walk is the same each time and passes by what is settled.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from cxrscreen import arrivals, blobs, clearing, db, entries, ingests, queue, sources
from cxrscreen.arrivals import Arrivals
from cxrscreen.errors import CxrscreenError
from cxrscreen.imaging import Limits, Member, Reason
from cxrscreen.imaging.reasons import sentence
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job, JobKind, Upload
from worker import intake, rescreen, room, runtime
from worker.leaves import Place
from worker.stop import Stopped
from worker.trial import Trial

log = logging.getLogger(__name__)

# Two slices are in memory at a time, so this, for each two threads, and little else is what an ingest needs above rest.
SLICE_BYTES = 24 << 20
FIRST = 16
PAUSE_SECONDS = 5.0
TRIES = 3  # without any progress, of what nobody foresaw
# They wait for a disk or a service, not for a core; several waits for a disk's fsync are one to it.
WRITERS = 16
MOST_THREADS = 8


def run(_job_id: int) -> None:
    """Ingest the job whose turn it is as far as it can be; a no-op where none is to be read.

    The id only says that there is work, as it does for batches (docs/decisions/0001).
    """
    me = runtime.name()
    job = runtime.patiently(lambda: _claim(me))
    if job is None:
        return
    job_id = job.id
    runtime.INGESTING.doing = f"job {job_id}: reading its sources"
    queue.submit(queue.SCREEN, job_id)  # to load the network meanwhile

    def renew() -> bool:
        with db.write() as session:
            return ingests.hold(session, job_id, me)

    error, reason = None, Reason.ORIGINAL_MISSING
    try:
        with runtime.lease(renew):
            if job.kind in (JobKind.RESCREEN, JobKind.NIGHTLY) and not job.sources:
                rescreen.list_images(job, me)
            else:
                _list_sources(job, me)
            _gather_stranded(job_id)
    except Stopped:
        _release(job_id, me)
        return
    except (UploadLost, CxrscreenError) as missing:
        error = str(missing)
    except Exception as trouble:
        runtime.INGESTING.last_error = f"{type(trouble).__name__}: {trouble}"
        log.exception("Ingest of job %s stops", job_id)
        if _may_pass(trouble) or job.attempts < TRIES:
            # Nothing is lost, the sweep brings the job back.
            time.sleep(PAUSE_SECONDS)
            _release(job_id, me)
            return
        error, reason = sentence(Reason.INTERNAL), Reason.INTERNAL
    finally:
        runtime.INGESTING.doing = "waiting for work"

    def close() -> None:
        with db.write() as session:
            ingests.close_listing(session, job_id, me, error, reason)

    runtime.patiently(close)


class UploadLost(Exception):
    """The store is there, and the upload is not in it any more."""


def _may_pass(trouble: Exception) -> bool:
    """It is of the store, the disk or the database, not of the input or of us."""
    return isinstance(trouble, OSError) or (isinstance(trouble, SQLAlchemyError) and db.is_away(trouble))


def _claim(me: str) -> Job | None:
    with db.write() as session:
        return ingests.claim_next(session, me)


def _release(job_id: int, me: str) -> None:
    def release() -> None:
        with db.write() as session:
            ingests.release(session, job_id, me)

    runtime.patiently(release)


def _list_sources(job: Job, me: str) -> None:
    blobs.store().require()
    space = room.Room(job, me)
    with ExitStack() as stack:
        trial = stack.enter_context(Trial())
        writers = stack.enter_context(ThreadPoolExecutor(WRITERS))
        readers = stack.enter_context(ThreadPoolExecutor(_threads()))
        for source in job.sources:
            if clearing.passed_by(source):
                continue
            origin, referred = _open_source(source, stack)
            seen = _watching(job) if source.get("watch") else None
            place = Place(job, me, origin, referred, readers, writers, trial, seen)
            found = origin.files(source["label"])
            cut = slices(origin.members(seen.fresh(found) if seen else found, _limits()))
            _take_in((intake.Slice(place, members) for members in cut), space)
            if seen is not None:
                _tell(seen)


def _take_in(cut: Iterable[intake.Slice], space: room.Room) -> None:
    """Slice after slice; the next one is read and decoded while this one is written, so that decoders wait neither for
    a disk nor for the database."""
    under_way: list[intake.Slice] = []

    def write_all() -> None:
        while under_way:
            under_way[0].commit()
            del under_way[0]

    try:
        for piece in cut:
            if runtime.stopping():
                break
            space.wait(first=write_all)
            under_way.append(piece)
            piece.begin()
            before = under_way[0] if len(under_way) > 1 else None
            piece.decode(before)
            if before:
                if not piece.carry(before):
                    before.commit()
                    piece.decode_twins()
                del under_way[0]
        write_all()
    except Exception:
        for piece in under_way:
            piece.forgive()
        raise
    if runtime.stopping():
        raise Stopped


def _watching(job: Job) -> Arrivals:
    with db.read() as session:
        return arrivals.of_job(session, job)


def _tell(seen: Arrivals) -> None:
    with db.write() as session:
        seen.tell(session)


def _open_source(source: dict[str, Any], stack: ExitStack) -> tuple[sources.Source, bool]:
    """A source, and whether its plain files are referred to (a server folder, a prefix) or copied."""
    if "upload" not in source:
        return sources.at(source["path"]), not get_settings().copy_folder_files
    with db.read() as session:
        upload = session.get_one(Upload, source["upload"])
    store = blobs.store()
    if not store.exists("uploads", upload.sha256):
        raise UploadLost(f"The upload {upload.name!r} is no longer in the store.")
    path = stack.enter_context(store.as_file("uploads", upload.sha256, get_settings().cache_dir))
    return sources.Folder(path), False


def _limits() -> Limits:
    settings = get_settings()
    return Limits(
        max_entry_bytes=settings.max_entry_mb << 20,
        max_entries=settings.max_archive_entries,
        max_ratio=settings.max_archive_ratio,
        max_bytes=int(settings.max_archive_gb * 1e9),
        max_depth=settings.max_archive_depth,
    )


def _threads() -> int:
    """Few beyond eight find the interpreter's lock free: encoding a derivative holds it."""
    return get_settings().decode_threads or min(MOST_THREADS, os.cpu_count() or 2)


def slices(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Members in lists of a batch's size; fewer where they are large, and in the first, which screening waits for."""
    most = get_settings().batch_size
    wanted = min(most, FIRST)
    room = SLICE_BYTES * max(1, _threads() // 2)
    held: list[Member] = []
    size = 0
    for member in members:
        held.append(member)
        size += member.size or 0
        if len(held) >= wanted or size >= room:
            yield held
            held, size, wanted = [], 0, most
    if held:
        yield held


def _gather_stranded(job_id: int) -> None:
    """Cut new batches for entries that a retry set waiting again."""
    while True:
        with db.write() as session:
            ids = entries.stranded(session, job_id)
            made = entries.cut_batches(session, job_id, ids, get_settings().batch_size)
        for batch_id in made:
            queue.submit(queue.SCREEN, batch_id)
        if not made:
            return
