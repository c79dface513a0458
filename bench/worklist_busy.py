"""The pages of the worklist while a job screens at full speed beside them, against without it in the same run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import corpus, worklist_door
from cxrscreen import blobs, db, jobs, local, programs, queue, registry
from cxrscreen.settings import get_settings
from cxrscreen.tables import JobKind
from cxrscreen.worklist_filters import Filters

FILES = 2_000  # enough for the readers' time on a machine that screens a hundred a second
SIDE = 1024
BACKBONE, SIZE = "mobilenetv3_large_100", 224
BEGUN = 64  # images that have a score before the readers begin: everything is loaded by then


def measure_busy(
    lists: dict[str, Filters], seconds: float, room: Path, files: int = FILES, bundle: Path | None = None
) -> dict[str, Any]:
    """p95 of the pages alone and beside a job (ingest and screening of a folder, in shadow), and what it slows them by.

    `busy_images_s` is what the job did meanwhile; `busy_whole` is false where it ended before the readers did.
    """
    corpus.write_corpus(room / "files", {"jpeg": files // 2, "dicom": files - files // 2}, SIDE)
    bundle = bundle or corpus.make_bundle(room / "bundle", BACKBONE, SIZE, seed=1)
    with _workers(room), worklist_door.served() as bind:
        with db.write() as session:
            # A candidate: the job writes like any other, and the lists stay as they are.
            version = registry.register(session, blobs.store(), bundle)
        alone = _p95(worklist_door.asked(bind, lists, seconds, worklist_door.LOOKING))
        with db.write() as session:
            sources = [{"path": str(room / "files"), "label": "files"}]
            job_id = jobs.create(session, JobKind.FOLDER, "beside the readers", version.id, sources=sources).id
        queue.submit(queue.INGEST, job_id)
        before = _until_begun(job_id, min(BEGUN, files // 2))
        start = time.perf_counter()
        busy = _p95(worklist_door.asked(bind, lists, seconds, worklist_door.LOOKING))
        done, whole = _settled(job_id)
        rate = (done - before) / (time.perf_counter() - start)
    return {
        "http_p95_ms_alone": alone,
        "http_p95_ms_busy": busy,
        "busy_slowdown": round(busy / alone, 2),
        "busy_images_s": round(rate, 1),
        "busy_whole": whole,
    }


@contextmanager
def _workers(room: Path) -> Iterator[None]:
    """Redis, ingest, screening and beat on the database of the settings, and this process's submits go to them."""
    os.environ.pop("CXRSCREEN_REDIS_URL", None)
    os.environ["CXRSCREEN_ALLOWED_ROOTS"] = str(room)
    get_settings.cache_clear()
    stack = local.Stack(get_settings(), programs.WITHOUT_PAGES)
    stack.start()
    try:
        stack.wait_ready()
        yield
    finally:
        stack.stop()


def _until_begun(job_id: int, least: int) -> int:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        done, _ = _settled(job_id)
        if done >= least:
            return done
        time.sleep(0.2)
    raise TimeoutError("the job did not begin; see the log folder of the stack")


def _settled(job_id: int) -> tuple[int, bool]:
    """Images that have an answer, and whether more are to come."""
    with db.read() as session:
        account = jobs.account(session, job_id)
    return account.settled, account.waiting > 0


def _p95(timed: dict[str, list[float]]) -> float:
    return round(statistics.quantiles([ms for kind in timed.values() for ms in kind], n=20)[-1], 1)
