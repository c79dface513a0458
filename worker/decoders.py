"""Who reads pictures beside the network: threads, or, where threads hold one another up, processes.

The decoders let go of the interpreter's lock, but each picture gives it back and takes it again several times, and a
thread that waits for it has to be woken each time. On few cores that is nothing; sixteen threads of one process were
seen to read no more than one. So it is measured (`CXRSCREEN_DECODERS=auto`), as engines are; `bench.feeding` shows it.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice

import numpy as np

from cxrscreen.batches import Picture
from cxrscreen.imaging import decode, encode
from cxrscreen.settings import Settings, get_settings
from models.inputs import to_input
from worker import pixels
from worker.pixels import Missing, Pixels

log = logging.getLogger(__name__)

# Pictures in one task: what handing it over costs is shared, and a batch still keeps many readers busy.
TASK = 4
# Processes take some 80 MB each.
MOST = 16
# Where there are no more cores than this, nothing is measured: threads fill them.
FEW = 2
MEASURED_SECONDS = 0.3
# Threads do where they are ahead of the network by this, or come this near to what as many cores could read.
AHEAD, NEAR = 1.2, 0.6


class Reading:
    """A batch's pictures on their way, in order."""

    def __init__(self, pool: Executor, images: Sequence[Picture], size: int, crop: float) -> None:
        self.images = images
        parts = [images[start : start + TASK] for start in range(0, len(images), TASK)]
        self.tasks: list[Future[list[Pixels | Missing]]] = [pool.submit(read, part, size, crop) for part in parts]

    def chunks(self, count: int) -> Iterator[list[tuple[Picture, Pixels | Missing]]]:
        """At most `count` pictures at a time; raises what reading them raised, BrokenExecutor if a process died."""
        held = (one for task in self.tasks for one in task.result())
        pairs = zip(self.images, held, strict=True)
        while chunk := list(islice(pairs, count)):
            yield chunk

    def drop(self) -> None:
        for task in self.tasks:
            task.cancel()


def read(images: Sequence[Picture], size: int, crop: float) -> list[Pixels | Missing]:
    """The network's inputs; of module level, so that it crosses to another process."""
    return [pixels.network_input(image, size, crop) for image in images]


class Decoders:
    """A pool that reads batches. Processes are begun afresh, not forked: this one may have touched a card (law 9)."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.count = kind, count
        self.pool: Executor
        if kind == "processes":
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin)
        else:
            self.pool = ThreadPoolExecutor(count, thread_name_prefix="decode")

    def read(self, images: Sequence[Picture], size: int, crop: float) -> Reading:
        return Reading(self.pool, images, size, crop)

    def end(self) -> None:
        self.pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In a process that decodes: it ends with its parent, even where that is killed, and not by a key that is meant
    for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="follow", daemon=True).start()


_held: list[tuple[Settings, Decoders]] = []


def serving(network_rate: Callable[[], float], size: int) -> Decoders:
    """The decoders of this process, made and measured when they are first wanted. `network_rate` tells how many images
    a second the network takes."""
    settings = get_settings()
    if _held and _held[0][0] is not settings:
        end()
    if not _held:
        _held.append((settings, _made(settings, network_rate, size)))
    return _held[0][1]


def end() -> None:
    """Let the decoders go, as one of their processes died or nobody wants them any more; new ones are made if asked."""
    while _held:
        _held.pop()[1].end()


def _made(settings: Settings, network_rate: Callable[[], float], size: int) -> Decoders:
    count = settings.decode_threads or min(MOST, os.cpu_count() or FEW)
    if settings.decoders != "auto":
        return Decoders(settings.decoders, count)
    if count <= FEW:
        return Decoders("threads", count)
    one, many, network = rate("threads", 1, size), rate("threads", count, size), network_rate()
    kind, used = choose(one, many, network, count)
    log.info(
        "Pictures a second: %.0f read by one thread, %.0f by %d, %.0f by the network; %d %s read",
        one, many, count, network, used, kind,
    )  # fmt: skip
    return Decoders(kind, used)


def choose(one: float, many: float, network: float, count: int) -> tuple[str, int]:
    """Threads or processes, and how many: `one` and `many`, `count` of them, are threads' pictures a second."""
    if many >= AHEAD * network or many >= NEAR * one * count:
        return "threads", count
    return "processes", max(FEW, min(count, math.ceil(AHEAD * network / one)))


def rate(kind: str, count: int, size: int, seconds: float = MEASURED_SECONDS) -> float:
    """Pictures a second that so many threads or processes decode, resize and stretch, handed over as batches are."""
    chance = np.random.default_rng(0)
    data = encode((np.arange(512)[:, None] / 4 + chance.integers(0, 24, (512, 512))).astype(np.uint8))
    decoders = Decoders(kind, count)
    try:
        warm = [decoders.pool.submit(probe, data, size) for _ in range(2 * count)]
        for task in warm:
            task.result()
        start, done = time.perf_counter(), 0
        under_way = [decoders.pool.submit(probe, data, size) for _ in range(3 * count)]
        while time.perf_counter() - start < seconds:
            done += under_way.pop(0).result()
            under_way.append(decoders.pool.submit(probe, data, size))
        return done / (time.perf_counter() - start)
    finally:
        decoders.end()


def probe(data: bytes, size: int) -> int:
    """A task's work on one derivative, without a store; answers how many pictures that is."""
    for _ in range(TASK):
        to_input(decode(data), size)
    return TASK
