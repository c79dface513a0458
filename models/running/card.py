"""The network on a graphics card: copies to it, computing, and copies back run beside one another.

Pictures cross as bytes, a quarter of what normalised ones weigh. A piece of a fixed size is captured once as a CUDA
graph and replayed, so that the processor launches one thing instead of a few hundred. Slots take turns: while one
computes, the next is filled. See docs/decisions/0011-engines-by-measurement.md.
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from models.explain import local_evidence
from models.images import normalise
from models.running.passes import Floats, Pass, Said

log = logging.getLogger(__name__)

# Pictures in a piece. A rest is padded to the next of them: the network looks at each picture alone, so what lies in
# the padding changes nothing.
PIECES = (16, 64, 256)
SLOTS = 3


class HalfPass(Pass):
    """The pass with its layers in 16 bits and everything after pooling in 32: there rounding would reach the score."""

    def __init__(self, whole: Pass) -> None:
        super().__init__(
            copy.deepcopy(whole.network), whole.mean, whole.std, whole.members, whole.temperature, whole.mapped
        )
        self.network.half()
        self.network.head.float()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features, pooled, glance = self.network.look(normalise(x, self.mean, self.std).half())
        pooled = pooled.float()
        logits = self.network.head(pooled)
        if not self.mapped:
            return logits, pooled, glance.float()
        evidence = local_evidence(features.float(), self.network.head, self.members, self.temperature)
        return logits, pooled, glance.float(), evidence


class CardEngine:
    """Any pass on its own device. On a processor it does the same in the same order, one step after the other."""

    def __init__(self, whole: Pass, size: int, pieces: tuple[int, ...] = PIECES) -> None:
        self.whole = whole.eval()
        self.name = "half" if isinstance(whole, HalfPass) else "card"
        self.size, self.pieces = size, tuple(sorted(pieces))
        self.device = next(whole.parameters()).device
        self.lanes = _Lanes(self.device)
        self.slots: dict[int, deque[Slot]] = {}

    @property
    def chunk(self) -> int:
        """Pictures that are worth handing over at once."""
        return self.pieces[-1]

    def __call__(self, inputs: torch.Tensor) -> Said:
        """Where the card's memory does not suffice, pieces are halved, for good."""
        while True:
            try:
                return self._run(inputs)
            except torch.OutOfMemoryError:
                if self.pieces[-1] == 1:
                    raise
            # Out here, since an error that is being handled keeps alive what it should make room for.
            self._shrink()

    def _shrink(self) -> None:
        most = self.pieces[-1] // 2
        self.pieces = tuple(sorted({min(piece, most) for piece in self.pieces}))
        self.lanes.settle()
        self.slots.clear()
        self.lanes.settle()
        log.warning("The card's memory is full: pieces of %d pictures from now on", most)

    @torch.inference_mode()
    def _run(self, inputs: torch.Tensor) -> Said:
        parts: list[tuple[Floats, ...]] = []
        busy: deque[tuple[Slot, int]] = deque()
        for piece in torch.split(inputs, self.pieces[-1]):
            slot = self.slot(len(piece))
            # A slot that still computes is the oldest one or one of another size; answers come in order either way.
            while any(taken is slot for taken, _ in busy):
                parts.append(_collect(*busy.popleft()))
            slot.start(piece)
            busy.append((slot, len(piece)))
        while busy:
            parts.append(_collect(*busy.popleft()))
        return Said(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @torch.inference_mode()
    def slot(self, count: int) -> Slot:
        """The slot whose turn it is, for a piece of `count` pictures."""
        size = next(piece for piece in self.pieces if piece >= count)
        ring = self.slots.setdefault(size, deque())
        if len(ring) < SLOTS:
            ring.append(Slot(self.whole, size, self.size, self.lanes))
        else:
            ring.rotate(-1)
        return ring[-1]


class _Lanes:
    """Three streams of the card, or none on a processor."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.there, self.compute, self.back = (self._stream() for _ in range(3))
        # Graphs that are never replayed side by side may compute in the same memory.
        self.pool = torch.cuda.graph_pool_handle() if self.compute is not None else None

    def _stream(self) -> torch.cuda.Stream | None:
        return torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def on(self, stream: torch.cuda.Stream | None) -> AbstractContextManager[Any]:
        return nullcontext() if stream is None else torch.cuda.stream(stream)

    def event(self) -> torch.cuda.Event | None:
        return torch.cuda.Event() if self.compute is not None else None  # type: ignore[no-untyped-call]

    def settle(self) -> None:
        """Wait for everything, and give back what is not used."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()


class Slot:
    """Buffers for one piece on both sides, and its graph. Host memory is pinned, so that copies run by themselves."""

    def __init__(self, whole: Pass, count: int, size: int, lanes: _Lanes) -> None:
        self.lanes, self.whole = lanes, whole
        card = lanes.compute is not None
        shape = (count, 1, size, size)
        self.arrived, self.computed, self.done = (lanes.event() for _ in range(3))
        self.graph: torch.cuda.CUDAGraph | None = None
        self.host = torch.zeros(shape, dtype=torch.uint8, pin_memory=card)
        # The first passes try out the kernels, which must not be captured.
        with lanes.on(lanes.compute), _kernels_tried():
            self.given = torch.zeros(shape, dtype=torch.uint8, device=lanes.device)
            made = [whole(self.given) for _ in range(3 if card else 1)][-1]
            self.out = [torch.zeros_like(part) for part in made]
        lanes.settle()
        self.answers = [torch.zeros(part.shape, dtype=part.dtype, pin_memory=card) for part in made]
        if card:
            self._capture()

    def _capture(self) -> None:
        """Keep the pass as a graph; a network that cannot be captured is launched step by step."""
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                _kernels_tried(),
                torch.cuda.graph(
                    graph, pool=self.lanes.pool, stream=self.lanes.compute, capture_error_mode="thread_local"
                ),
            ):
                self._compute()
            self.graph = graph
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            log.warning("No CUDA graph of this network: %s", " ".join(str(error).split())[:200])
            self.lanes.settle()

    def _compute(self) -> None:
        for kept, part in zip(self.out, self.whole(self.given), strict=True):
            kept.copy_(part)

    @torch.inference_mode()
    def compute(self) -> None:
        """One pass over what lies on the card, on the stream of the day."""
        if self.graph is None:
            self._compute()
        else:
            self.graph.replay()

    def start(self, piece: torch.Tensor) -> None:
        """Fill, compute and fetch, each as soon as the one before lets it; returns at once where there is a card."""
        lanes = self.lanes
        if piece.device.type == "cpu":
            self.host[: len(piece)].copy_(piece)
            with lanes.on(lanes.there):
                self.given.copy_(self.host, non_blocking=True)
                _record(self.arrived)
        else:
            self.given[: len(piece)].copy_(piece)  # on the stream that made it
            _record(self.arrived)
        with lanes.on(lanes.compute):
            _wait(self.arrived)
            self.compute()
            _record(self.computed)
        with lanes.on(lanes.back):
            _wait(self.computed)
            for here, part in zip(self.answers, self.out, strict=True):
                here.copy_(part, non_blocking=True)
            _record(self.done)


def _collect(slot: Slot, count: int) -> tuple[Floats, ...]:
    if slot.done is not None:
        slot.done.synchronize()
    # Copies: the slot is written over by the piece after next.
    return tuple(np.array(part[:count].numpy()) for part in slot.answers)


def _record(event: torch.cuda.Event | None) -> None:
    if event is not None:
        event.record()


def _wait(event: torch.cuda.Event | None) -> None:
    if event is not None:
        event.wait()


@contextmanager
def _kernels_tried() -> Iterator[None]:
    """cuDNN tries its kernels and keeps the quickest, which pays where shapes stay."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
