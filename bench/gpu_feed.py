"""Pictures read ahead of the network, by threads or by processes, into a ring of arrays.

The decoders let go of the interpreter's lock, but threads hand it on several times a picture, which bounds all of them
together (decision 26). A card can look at more; processes, each with an interpreter of its own, write into memory that
they share with this one.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Item = TypeVar("Item")
# Pictures in one task of a process: what a task costs is shared by them.
TASK = 16

# Of a process that decodes: the arrays it shares, and what keeps them.
_shared: dict[str, tuple[SharedMemory, npt.NDArray[np.uint8]]] = {}


@dataclass(frozen=True)
class Chunk(Generic[Item]):
    """Items with their inputs [N, S, S], which are another chunk's as soon as the next one is asked for.

    Where `problems` names an item's place, what was read of it was no picture but this, and its input is anything.
    """

    items: list[Item]
    inputs: npt.NDArray[np.uint8]
    problems: dict[int, Any]


class Feed(Generic[Item]):
    """Chunks of at most `count` items, in order, each read by `read(item)`: an input uint8 [S, S], or anything else.

    While one chunk is looked at, at most `depth` - 1 more are read: memory does not grow with the items. With
    `processes`, `read` and the items have to cross to another process, and start it without a card (spawn, law 9).
    What `read` raises comes out where its chunk would.
    """

    def __init__(
        self,
        read: Callable[[Item], Any],
        size: int,
        *,
        threads: int = 2,
        processes: int = 0,
        count: int = 64,
        depth: int = 3,
    ) -> None:
        self.read, self.size, self.count, self.depth = read, size, count, depth
        shape = (depth, count, size, size)
        self.memory: SharedMemory | None = None
        self.pool: Executor
        if processes:
            self.memory = SharedMemory(create=True, size=int(np.prod(shape)))
            self.ring: npt.NDArray[np.uint8] = np.ndarray(shape, np.uint8, buffer=self.memory.buf)
            self.pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
        else:
            self.ring = np.empty(shape, np.uint8)
            self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def __enter__(self) -> Feed[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
        if self.memory is not None:
            del self.ring  # a view of the memory keeps it open
            self.memory.close()
            self.memory.unlink()

    def chunks(self, items: Iterable[Item]) -> Iterator[Chunk[Item]]:
        waiting = iter(items)
        read: deque[tuple[int, list[Item], list[Future[dict[int, Any]]]]] = deque()
        place = 0
        try:
            while True:
                while len(read) < self.depth and (group := list(islice(waiting, self.count))):
                    read.append((place % self.depth, group, self._start(place % self.depth, group)))
                    place += 1
                if not read:
                    return
                row, group, tasks = read[0]
                problems: dict[int, Any] = {}
                for task in tasks:
                    problems |= task.result()
                yield Chunk(group, self.ring[row, : len(group)], problems)
                read.popleft()
        finally:
            left = [task for _, _, tasks in read for task in tasks]
            for task in left:
                task.cancel()
            wait(left)  # nobody writes into the ring any more

    def _start(self, row: int, group: list[Item]) -> list[Future[dict[int, Any]]]:
        if self.memory is None:
            return [
                self.pool.submit(_fill, self.read, self.ring[row], place, [item]) for place, item in enumerate(group)
            ]
        starts = range(0, len(group), TASK)
        shape = self.ring.shape
        return [
            self.pool.submit(_fill_shared, self.memory.name, shape, row, self.read, start, group[start : start + TASK])
            for start in starts
        ]


def _fill(read: Callable[[Item], Any], rows: npt.NDArray[np.uint8], start: int, items: list[Item]) -> dict[int, Any]:
    problems: dict[int, Any] = {}
    for place, item in enumerate(items, start):
        held = read(item)
        if isinstance(held, np.ndarray):
            rows[place] = held
        else:
            problems[place] = held
    return problems


def _fill_shared(
    name: str, shape: tuple[int, ...], row: int, read: Callable[[Item], Any], start: int, items: list[Item]
) -> dict[int, Any]:
    if name not in _shared:
        # The process that made it also removes it.
        memory = SharedMemory(name=name)
        _shared[name] = memory, np.ndarray(shape, np.uint8, buffer=memory.buf)
    return _fill(read, _shared[name][1][row], start, items)
