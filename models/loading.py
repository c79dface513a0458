"""Reads the pictures of an index as the screening worker does, and holds them as one tensor."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from cxrscreen import imaging
from models.errors import IndexInvalid
from models.images import Pixels, to_input
from models.indexes.rows import CLASSES, Row

# Rows that may be decoded ahead of the one that is asked for.
AHEAD = 64


@dataclass(frozen=True)
class Loaded:
    """Rows with their input tensor [N, 1, S, S] uint8, class indices [N] and the SHA-256 of each file.

    A data set of n pictures at side s takes n x s x s bytes: 20,000 at 224 are 1 GB.
    """

    rows: tuple[Row, ...]
    inputs: torch.Tensor
    labels: torch.Tensor
    hashes: tuple[str, ...]

    def split(self, name: str) -> Loaded:
        chosen = [i for i, row in enumerate(self.rows) if row.split == name]
        return Loaded(
            tuple(self.rows[i] for i in chosen),
            self.inputs[chosen],
            self.labels[chosen],
            tuple(self.hashes[i] for i in chosen),
        )

    def fingerprint(self) -> str:
        """SHA-256 over the sorted (file hash, label, split): the same pictures in any order and place give the same."""
        lines = sorted(
            f"{digest} {row.label} {row.split}\n" for digest, row in zip(self.hashes, self.rows, strict=True)
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def pictures(rows: Sequence[Row], threads: int = 2) -> Iterator[tuple[str, Pixels]]:
    """The SHA-256 and the derivative's pixels (H, W) of each row, in order.

    Raises IndexInvalid naming the first file that would be rejected in screening too.
    """
    for outcome in outcomes(rows, threads):
        if isinstance(outcome, IndexInvalid):
            raise outcome
        yield outcome


def outcomes(rows: Sequence[Row], threads: int = 2) -> Iterator[tuple[str, Pixels] | IndexInvalid]:
    """The same, with the error in the place of a picture that cannot be used."""
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        waiting = iter(rows)
        queue = deque(pool.submit(_outcome, row) for row in islice(waiting, AHEAD))
        try:
            while queue:
                yield queue.popleft().result()
                queue.extend(pool.submit(_outcome, row) for row in islice(waiting, 1))
        finally:
            for future in queue:
                future.cancel()


def load(
    rows: Sequence[Row],
    size: int,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
    crop: float = 0.0,
) -> Loaded:
    """Every picture once, resized for the network; the same bytes in two splits are a leak and an IndexInvalid."""
    inputs = torch.empty(len(rows), 1, size, size, dtype=torch.uint8)
    hashes = []
    for position, (digest, pixels) in enumerate(pictures(rows, threads)):
        inputs[position, 0] = torch.from_numpy(to_input(pixels, size, crop))
        hashes.append(digest)
        if progress:
            progress(position + 1, len(rows))
    forbid_copies(rows, hashes)
    labels = torch.tensor([CLASSES.index(row.label) for row in rows])
    return Loaded(tuple(rows), inputs, labels, tuple(hashes))


def _outcome(row: Row) -> tuple[str, Pixels] | IndexInvalid:
    try:
        return _read(row)
    except IndexInvalid as error:
        return error


def _read(row: Row) -> tuple[str, Pixels]:
    """A file of several frames gives its first one."""
    try:
        data = row.path.read_bytes()
        frame, *_ = imaging.prepare(data, row.name)  # to the end: damage may show only there
    except imaging.Rejected as error:
        raise IndexInvalid(f"The picture {row.name} cannot be used: {error}") from None
    except OSError as error:
        raise IndexInvalid(f"The picture {row.name} cannot be read: {error.strerror or error}.") from None
    if frame.refused is not None or frame.derivative is None:
        raise IndexInvalid(f"The picture {row.name} cannot be used: {frame.refused}")
    return hashlib.sha256(data).hexdigest(), np.asarray(imaging.decode(frame.derivative))


def forbid_copies(rows: Sequence[Row], hashes: Sequence[str]) -> None:
    """Raises IndexInvalid by the first picture whose very bytes stand in another split too."""
    seen: dict[str, Row] = {}
    for digest, row in zip(hashes, rows, strict=True):
        first = seen.setdefault(digest, row)
        if first.split != row.split:
            raise IndexInvalid(
                f"{row.name} ({row.split}) holds the same bytes as {first.name} ({first.split}); "
                "a picture may stand in one split only."
            )
