"""Screening: claim a batch, decode its derivatives while the network runs, write the answers in one transaction."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cxrscreen import batches, blobs, db, features, jobs, registry
from cxrscreen.batches import Answer, Picture, Work
from cxrscreen.errors import BundleDamaged
from cxrscreen.imaging import Reason
from cxrscreen.settings import get_settings
from cxrscreen.tables import ModelVersion
from models import bundle
from worker import pixels
from worker.answers import answers as to_answers
from worker.pixels import Pixels
from worker.runtime import SCREENING, lease, name, patiently, stopping

log = logging.getLogger(__name__)

STORE_PAUSE_SECONDS = 5.0
# A sweep waits no longer than this for a worker that is never idle.
TURN_SECONDS = 5.0


class NotFit(Exception):
    """The network cannot be loaded here: a wrong setting, a lost graphics card, a full memory. No image is to blame."""


class Turn:
    """Batch after batch, each written while the next one is computed.

    A batch that a worker died with before is screened with nothing else in hand, so that a deadly image costs no
    neighbour more than one death.
    """

    def __init__(self) -> None:
        self.me = name()
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self.decoders = ThreadPoolExecutor(get_settings().decode_threads, thread_name_prefix="decode")
        self.written: Future[None] | None = None

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self._settle()
        self.writer.shutdown()
        self.decoders.shutdown()

    def one(self) -> bool:
        """Screen the most urgent batch; False where none is due or nothing could be done."""
        work = patiently(self._claim)
        if work is None:
            return False
        if work.deaths:
            self._settle()
        SCREENING.doing = f"job {work.job_id}, batch {work.batch_id}: {len(work.images)} images"
        holding = ExitStack()
        lost = holding.enter_context(lease(lambda: _renew(work, self.me)))
        done = False
        with holding, self._excused(work):
            answers = _answer(work, self.decoders)
            self._settle()
            self.written = self.writer.submit(self._write, work, answers, lost, holding.pop_all())
            done = True
        if work.deaths:
            self._settle()
        return done

    def _claim(self) -> Work | None:
        # A claim whose answer is lost lapses, and counts as a death at most once.
        with db.write() as session:
            return batches.claim(session, self.me)

    def _settle(self) -> None:
        """Wait until the batch before is written."""
        written, self.written = self.written, None
        if written is not None:
            written.result()

    def _write(self, work: Work, answers: list[Answer], lost: threading.Event, holding: ExitStack) -> None:
        with holding, self._excused(work):
            if not lost.is_set():
                patiently(lambda: self._finish(work, answers))
            SCREENING.done += 1

    def _finish(self, work: Work, answers: list[Answer]) -> None:
        # Twice is harmless: where the first commit stood although its answer was lost, the batch is held no more.
        with db.write() as session:
            batches.finish(session, work, self.me, answers)

    def _let_go(self, batch_id: int, how: Callable[[Session, int, str], None]) -> None:
        def write() -> None:
            with db.write() as session:
                how(session, batch_id, self.me)

        patiently(write)

    @contextmanager
    def _excused(self, work: Work) -> Iterator[None]:
        """What goes wrong with a batch ends here, and the batch is told so."""
        try:
            yield
        except BundleDamaged as error:
            SCREENING.last_error = str(error)
            with db.write() as session:
                batches.release(session, work.batch_id, self.me)
                jobs.fail(session, work.job_id, str(error), Reason.INTERNAL)
        except Exception as error:
            SCREENING.last_error = f"{type(error).__name__}: {error}"
            if isinstance(error, OSError | NotFit) or (isinstance(error, SQLAlchemyError) and db.is_away(error)):
                # The store, the database or the graphics card is away. The worker lives, so this is no death: the batch
                # goes back whole.
                log.exception("Batch %s waits", work.batch_id)
                time.sleep(STORE_PAUSE_SECONDS)
                self._let_go(work.batch_id, batches.release)
            else:
                # Nothing we foresaw, an answer that the database refuses among it. Tried again in halves, as after a
                # death, it ends in quarantine if it stays so.
                log.exception("Batch %s failed", work.batch_id)
                self._let_go(work.batch_id, batches.give_up)


def run() -> None:
    """Screen what is due, for a turn: sweeps and other messages want this process too."""
    until = time.monotonic() + TURN_SECONDS
    try:
        with Turn() as turn:
            while turn.one() and time.monotonic() < until and not stopping():
                pass
    finally:
        SCREENING.doing = "waiting for work"
    if SCREENING.done >= get_settings().batches_per_process:
        # Celery's max-tasks-per-child does nothing in the solo pool; the supervisor starts a fresh process.
        os.kill(os.getpid(), signal.SIGTERM)


def _renew(work: Work, me: str) -> bool:
    with db.write() as session:
        return batches.renew(session, work.batch_id, me)


def _answer(work: Work, decoders: Executor) -> list[Answer]:
    """From features where they are kept; of the rest one forward pass for each chunk, while the next are decoded."""
    screener = network(work.model_version_id)
    answers, images = _from_features(screener, work.images)
    read = [decoders.submit(pixels.network_input, image, screener.size, screener.crop) for image in images]
    try:
        for start in range(0, len(read), screener.engine.chunk):
            ready = []
            chunk = slice(start, start + screener.engine.chunk)
            for image, future in zip(images[chunk], read[chunk], strict=True):
                held = future.result()
                if isinstance(held, pixels.Missing):
                    said = Answer(image.id, reason=Reason.ORIGINAL_MISSING, detail=held.detail, failed=True)
                    answers.append(said)
                else:
                    ready.append((image, held))
            answers += _predict(screener, ready)
    finally:
        for future in read:
            future.cancel()
    return answers


def network(version_id: int) -> bundle.Screener:
    """A version's network, ready to be asked. Raises BundleDamaged, or OSError where the store is away."""
    with db.read() as session:
        version = session.get_one(ModelVersion, version_id)
    return _screener(version.sha256, _fetch(version), get_settings().device)


def _from_features(screener: bundle.Screener, images: list[Picture]) -> tuple[list[Answer], list[Picture]]:
    """The answers of images whose features are kept in the bundle's space, and the images that have to be looked at."""
    space = screener.record.get("feature_space")
    if space is None:
        return [], images
    with db.read() as session:
        kept = features.of(session, space, [image.id for image in images])
    known = [image for image in images if image.id in kept]
    if not known:
        return [], images
    try:
        said = screener.predict_features([kept[image.id] for image in known])
    except ValueError:
        log.exception("Features of the space %s are damaged; the pixels are read", space)
        return [], images
    return to_answers(screener, known, said, keep=False), [image for image in images if image.id not in kept]


def _fetch(version: ModelVersion) -> Path:
    """The bundle's folder. Raises BundleDamaged where it is no good, OSError where the store is away."""
    store = blobs.store()
    store.require()
    try:
        return registry.fetch(store, version)
    except BundleDamaged as error:
        store.require()
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise error.__cause__ from error
        raise


@lru_cache(maxsize=2)
def _screener(_sha256: str, folder: Path, device: str) -> bundle.Screener:
    """A version's network, loaded once; two, so that a nightly job with a newer one costs no reload a batch."""
    try:
        screener = bundle.load(folder, device=device)
        cores = os.cpu_count() or 2
        # PyTorch's threads wait for one another, and decoding, ingest and the pages want a core too; streams of
        # OpenVINO are each on their own.
        threads = get_settings().torch_threads or max(1, cores - 1)
        streams = get_settings().torch_threads or cores
        screener.quicken(get_settings().engine, threads, streams, get_settings().cache_dir / "engines.json")
        return screener
    except bundle.BundleError as error:
        raise BundleDamaged(str(error)) from error
    except Exception as error:
        raise NotFit(" ".join(str(error).split()) or type(error).__name__) from error


def _runs(screener: bundle.Screener) -> bool:
    """Whether the network still answers for a blank picture. After some errors a graphics card serves this process no
    more, and every picture of the archive would seem to be at fault; a fresh process has it back, or says NotFit."""
    try:
        screener.predict_inputs(torch.zeros(1, 1, screener.size, screener.size, dtype=torch.uint8))
    except Exception:
        log.exception("The network answers for nothing any more; this process ends")
        os.kill(os.getpid(), signal.SIGTERM)
        return False
    return True


def _predict(screener: bundle.Screener, ready: Sequence[tuple[Picture, Pixels]]) -> list[Answer]:
    """One forward pass. Where it fails it is tried in halves, so that neither one picture nor a full memory takes its
    neighbours along."""
    if not ready:
        return []
    try:
        said = screener.predict_inputs(torch.from_numpy(np.stack([pixels for _, pixels in ready])[:, None]))
    except Exception as error:
        if len(ready) == 1:
            if not _runs(screener):
                raise
            log.exception("Image %s", ready[0][0].id)
            SCREENING.last_error = f"{type(error).__name__}: {error}"
            detail = f"{type(error).__name__}: {error}"
            return [Answer(ready[0][0].id, reason=Reason.INTERNAL, detail=detail, failed=True)]
        half = len(ready) // 2
        return _predict(screener, ready[:half]) + _predict(screener, ready[half:])
    return to_answers(screener, [image for image, _ in ready], said, keep=True)
