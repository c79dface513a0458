"""What the network says of a batch: its bundle, loaded once; of features where they are kept, else of the pixels."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from sqlalchemy import select

from cxrscreen import blobs, db, features, registry
from cxrscreen.batches import Answer, Picture, Work
from cxrscreen.errors import BundleDamaged
from cxrscreen.imaging import Reason
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job, JobState, ModelVersion
from models import bundle
from worker import decoders, pixels
from worker.answers import answers as to_answers
from worker.pixels import Pixels
from worker.runtime import SCREENING

log = logging.getLogger(__name__)


class NotFit(Exception):
    """The network cannot be loaded here: a wrong setting, a lost graphics card, a full memory. No image is to blame."""


@dataclass
class Begun:
    """Of a batch, before the network runs: answers from features, and the pictures that it has to see."""

    version_id: int
    screener: bundle.Screener
    answers: list[Answer]
    reading: decoders.Reading


def begin(work: Work, beside: Begun | None = None) -> Begun | None:
    """Answers from features where they are kept, and the other pictures on their way.

    `beside` a batch that is computed: None where this one wants another network. Loading it measures, and would measure
    beside the one that runs.
    """
    if beside is not None and beside.version_id != work.model_version_id:
        return None
    screener = network(work.model_version_id) if beside is None else beside.screener
    answers, images = _from_features(screener, work.images)
    pool = decoders.serving(lambda: _rate(screener), screener.size)
    return Begun(work.model_version_id, screener, answers, pool.read(images, screener.size, screener.crop))


def _rate(screener: bundle.Screener) -> float:
    """Images a second that the network takes, roughly: the second of two chunks."""
    blank = torch.zeros(screener.engine.chunk, 1, screener.size, screener.size, dtype=torch.uint8)
    screener.predict_inputs(blank)
    start = time.perf_counter()
    screener.predict_inputs(blank)
    return len(blank) / (time.perf_counter() - start)


def answer(begun: Begun) -> list[Answer]:
    """One forward pass for each chunk, while the next are decoded."""
    answers = begun.answers
    try:
        for chunk in begun.reading.chunks(begun.screener.engine.chunk):
            ready = []
            for image, held in chunk:
                if isinstance(held, pixels.Missing):
                    said = Answer(image.id, reason=Reason.ORIGINAL_MISSING, detail=held.detail, failed=True)
                    answers.append(said)
                else:
                    ready.append((image, held))
            answers += _predict(begun.screener, ready)
    finally:
        begun.reading.drop()
    return answers


def prepare() -> None:
    """Load the network of a job whose sources are still read: its first batch should not wait for that.

    What stands in the way is told when there is a batch.
    """
    with db.read() as session:
        read = select(Job.model_version_id).where(Job.state == JobState.RUNNING, Job.listed.is_(False))
        version_id = session.scalar(read.order_by(Job.priority.desc(), Job.id).limit(1))
    if version_id is not None:
        try:
            network(version_id)
        except Exception as error:
            log.warning("The network of version %s is not loaded yet: %s", version_id, error)


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
