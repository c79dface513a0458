"""Screening: claim a batch, decode its derivatives, one forward pass, write the answers in one transaction."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from cxrscreen import batches, blobs, db, jobs, registry
from cxrscreen.batches import Answer, Work
from cxrscreen.errors import BundleDamaged
from cxrscreen.imaging import PREPROCESSING, Reason, Rejected, decode, prepare
from cxrscreen.settings import get_settings
from cxrscreen.tables import Image, ModelVersion, now
from models import bundle
from worker import stop
from worker.runtime import SCREENING, lease, name

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
STORE_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Missing:
    """An image whose pixels cannot be had; `passing` when the store may give them later."""

    detail: str


def run() -> None:
    """Screen the most urgent batch, if one is due."""
    me = name()
    with db.write() as session:
        work = batches.claim(session, me)
    if work is None:
        return
    SCREENING.doing = f"job {work.job_id}, batch {work.batch_id}: {len(work.images)} images"

    def renew() -> bool:
        with db.write() as session:
            return batches.renew(session, work.batch_id, me)

    try:
        with lease(renew) as lost:
            answers = _answer(work)
        if not lost.is_set():
            with db.write() as session:
                batches.finish(session, work, me, answers)
        SCREENING.done += 1
    except BundleDamaged as error:
        SCREENING.last_error = str(error)
        with db.write() as session:
            batches.release(session, work.batch_id, me)
            jobs.fail(session, work.job_id, str(error), Reason.INTERNAL)
    except (OSError, SQLAlchemyError) as error:
        # The store or the database is away. The worker lives, so this is no death: the batch goes back unharmed.
        log.exception("Batch %s waits", work.batch_id)
        SCREENING.last_error = f"{type(error).__name__}: {error}"
        time.sleep(STORE_PAUSE_SECONDS)
        with db.write() as session:
            batches.release(session, work.batch_id, me)
    except Exception as error:
        # Nothing we foresaw. Tried again in halves, as after a death, it ends in quarantine if it stays so.
        log.exception("Batch %s failed", work.batch_id)
        SCREENING.last_error = f"{type(error).__name__}: {error}"
        with db.write() as session:
            batches.give_up(session, work.batch_id, me)
    finally:
        SCREENING.doing = "waiting for work"
    if SCREENING.done >= get_settings().batches_per_process:
        # Celery's max-tasks-per-child does nothing in the solo pool; the supervisor starts a fresh process.
        os.kill(os.getpid(), signal.SIGTERM)


def _answer(work: Work) -> list[Answer]:
    with db.read() as session:
        version = session.get_one(ModelVersion, work.model_version_id)
    screener = _screener(version.sha256, registry.fetch(blobs.store(), version), get_settings().device)
    with ThreadPoolExecutor(get_settings().decode_threads) as pool:
        pixels = list(pool.map(_pixels, work.images))
    answers = [
        Answer(image.id, reason=Reason.ORIGINAL_MISSING, detail=held.detail, failed=True)
        for image, held in zip(work.images, pixels, strict=True)
        if isinstance(held, Missing)
    ]
    ready = [(image, held) for image, held in zip(work.images, pixels, strict=True) if not isinstance(held, Missing)]
    return answers + _predict(screener, ready)


@lru_cache(maxsize=2)
def _screener(_sha256: str, folder: Path, device: str) -> bundle.Screener:
    """A version's network, loaded once; two, so that a nightly job with a newer one costs no reload a batch."""
    # Decoding, ingest and the pages want a core too; threads that wait for one another cost more than they give.
    torch.set_num_threads(get_settings().torch_threads or max(1, (os.cpu_count() or 2) - 1))
    try:
        return bundle.load(folder, device=device)
    except bundle.BundleError as error:
        raise BundleDamaged(str(error)) from error


def _pixels(image: Image) -> Pixels | Missing:
    """The image's derivative; where the store has lost it, it is made again from the original."""
    if image.sha256 == get_settings().deadly_sha256:
        stop.die()
    store = blobs.store()
    try:
        return decode(store.get("derivatives", image.derivative))
    except FileNotFoundError:
        pass
    try:
        data = Path(image.path).read_bytes() if image.path else store.get("originals", image.sha256)
        for frame in prepare(data, image.name):
            if frame.index == image.frame and frame.derivative is not None:
                store.put("derivatives", frame.derivative, durable=False)
                return decode(frame.derivative)
    except (FileNotFoundError, Rejected) as error:
        return Missing(str(error))
    return Missing(f"frame {image.frame} is no longer in the file")


def _predict(screener: bundle.Screener, ready: Sequence[tuple[Image, Pixels]]) -> list[Answer]:
    """One forward pass. Where it fails it is tried in halves, so that neither one picture nor a full memory takes its
    neighbours along."""
    if not ready:
        return []
    try:
        said = screener.predict([pixels for _, pixels in ready])
    except Exception as error:
        if len(ready) == 1:
            log.exception("Image %s", ready[0][0].id)
            SCREENING.last_error = f"{type(error).__name__}: {error}"
            detail = f"{type(error).__name__}: {error}"
            return [Answer(ready[0][0].id, reason=Reason.INTERNAL, detail=detail, failed=True)]
        half = len(ready) // 2
        return _predict(screener, ready[:half]) + _predict(screener, ready[half:])
    names = [part["name"] for part in screener.record["subclasses"]]
    answers = []
    for row, (image, _) in enumerate(ready):
        distance = None if said.distance is None else float(said.distance[row])
        if distance is not None and screener.unlike(distance):
            answers.append(Answer(image.id, reason=Reason.UNLIKE_TRAINING, detail=f"distance {distance:.2f}"))
            continue
        result: dict[str, Any] = {
            "label": said.label[row],
            "subclass": said.subclass[row],
            "score": float(said.score[row]),
            "probabilities": {
                key: round(float(value), 6) for key, value in zip(names, said.subclass_p[row], strict=True)
            },
            "distance": distance,
            "preprocessing": PREPROCESSING,
            "heat": said.heat[row],
            "created_at": now(),
        }
        answers.append(Answer(image.id, result))
    return answers
