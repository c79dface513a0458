"""Finds pictures that are copies of one another, before anything is split: by their bytes, then by how they look.

Chest radiographs look alike to a perceptual hash, so a pair passes three sieves: a DCT hash of 64 bits, one of 256,
and the agreement of the fine structure (`models.indexes.detail`). The bounds come from real pictures (`python -m
bench.duplicates`, figures in docs/data.md): of two million pairs of different patients 64 bits alone would join
hundreds, all three none. What is cropped by 5 %, mirrored or inverted is not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import IndexInvalid
from models.images import Pixels
from models.indexes.detail import agreements
from models.indexes.rows import Row
from models.loading import outcomes

Hashes = npt.NDArray[np.uint64]
# Bits of 64 and of 256 in which copies may differ, and the least agreement of their structure.
COARSE = 14
NEAR = 56
AGREE = 0.68
# Stricter bounds of 256, for pictures that are too alike for the first one; see `believable`.
STRICTER = (28, 12)
# Rows and columns of a block of comparisons; both sides and the answer stay in the processor's cache.
BLOCK, STRIPE = 256, 4096


@dataclass(frozen=True)
class Prints:
    """Of n pictures the SHA-256 of the bytes and the hashes, [n, 1] and [n, 4] words of 64 bits: 40 bytes a picture."""

    digests: tuple[str, ...]
    coarse: Hashes
    fine: Hashes


@dataclass(frozen=True)
class Pair:
    """Two positions in the rows; distance is that of the 256 bits, and `exact` says that the bytes are the same."""

    first: int
    second: int
    distance: int
    exact: bool


def fingerprint(pixels: Pixels) -> tuple[Hashes, Hashes]:
    """The coarse [1] and the fine [4] hash of a picture (H, W) uint8."""
    picture = Image.fromarray(pixels)
    coarse, fine = (imagehash.phash(picture, hash_size=size).hash.ravel() for size in (8, 16))
    return np.packbits(coarse).view(np.uint64), np.packbits(fine).view(np.uint64)


def fingerprints(
    rows: Sequence[Row],
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
    refused: Callable[[Row, IndexInvalid], None] | None = None,
) -> tuple[list[Row], Prints]:
    """Read every picture once. Raises IndexInvalid by the first that cannot be used, unless `refused` takes it; answers
    the rows that were read, and their prints."""
    kept: list[Row] = []
    digests: list[str] = []
    coarse, fine = np.empty((len(rows), 1), np.uint64), np.empty((len(rows), 4), np.uint64)
    for position, (row, outcome) in enumerate(zip(rows, outcomes(rows, threads), strict=True)):
        if isinstance(outcome, IndexInvalid):
            if refused is None:
                raise outcome
            refused(row, outcome)
        else:
            coarse[len(kept)], fine[len(kept)] = fingerprint(outcome[1])
            digests.append(outcome[0])
            kept.append(row)
        if progress:
            progress(position + 1, len(rows))
    return kept, Prints(tuple(digests), coarse[: len(kept)], fine[: len(kept)])


def search(rows: Sequence[Row], prints: Prints, near: int = NEAR) -> list[Pair]:
    """Every pair of copies, the same bytes first. What looks the same to the hashes is read again and compared."""
    exact, close = candidates(prints, near)
    agree = agreements(rows, [(pair.first, pair.second) for pair in close])
    return exact + [pair for pair, value in zip(close, agree, strict=True) if value >= AGREE]


def candidates(prints: Prints, near: int = NEAR) -> tuple[list[Pair], list[Pair]]:
    """Pairs of the same bytes, and pairs that the hashes hold for copies, nearest first.

    All are compared, 64 bits at a time, but a picture that stands more than once only once: 100,000 pictures take some
    ten seconds, a million twenty minutes; the memory is that of the hashes.
    """
    exact, near_pairs, lone = [], [], []
    by_bytes: dict[str, int] = {}
    by_look: dict[bytes, int] = {}
    for position, digest in enumerate(prints.digests):
        first = by_bytes.setdefault(digest, position)
        if first != position:
            exact.append(Pair(first, position, 0, True))
            continue
        twin = by_look.setdefault(prints.fine[position].tobytes(), position)
        if twin != position:
            near_pairs.append(Pair(twin, position, 0, False))
        else:
            lone.append(position)
    places = np.array(lone, dtype=np.int64)
    near_pairs += [
        Pair(int(places[a]), int(places[b]), distance, False)
        for a, b, distance in _near(prints.coarse[places, 0], prints.fine[places], near)
    ]
    return exact, sorted(near_pairs, key=lambda pair: (pair.distance, pair.first, pair.second))


def _near(coarse: Hashes, fine: Hashes, near: int) -> Iterator[tuple[int, int, int]]:
    for top in range(0, len(coarse), BLOCK):
        block = coarse[top : top + BLOCK, None]
        for left in range(top, len(coarse), STRIPE):
            close = np.bitwise_count(block ^ coarse[None, left : left + STRIPE]) <= COARSE
            a, b = np.nonzero(close)
            a, b = a + top, b + left
            a, b = a[a < b], b[a < b]
            distance = np.bitwise_count(fine[a] ^ fine[b]).sum(axis=1, dtype=np.int64)
            for hit in np.nonzero(distance <= near)[0]:
                yield int(a[hit]), int(b[hit]), int(distance[hit])


def believable(rows: Sequence[Row], pairs: Sequence[Pair]) -> tuple[list[Pair], str]:
    """The pairs to join by, and a note where they are not all.

    Copies come in small groups. Where joining would leave a class fewer than three patients, or make one patient of
    more than a tenth of all, the pictures (drawn ones, or all from one phantom) are too alike for the bounds, and
    stricter ones are taken; at last only the same bytes count.
    """
    for bound in (256, *STRICTER, -1):
        kept = [pair for pair in pairs if pair.exact or pair.distance <= bound]
        if bound < 0 or not _excessive(rows, join(rows, kept)):
            break
    if len(kept) == len(pairs):
        return kept, ""
    how = f"within {bound} of 256 bits" if bound >= 0 else "of the same bytes"
    return kept, (
        f"{len(pairs) - len(kept)} of {len(pairs)} pairs that look the same are not held for copies: the pictures are "
        f"too alike to be told apart, so only pairs {how} are joined."
    )


def _excessive(before: Sequence[Row], after: Sequence[Row]) -> bool:
    def patients(rows: Sequence[Row]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            found[row.label].add(row.patient)
        return found

    old, new = patients(before), patients(after)
    if any(len(new[label]) < 3 <= len(old[label]) for label in old):
        return True
    everyone = len(set().union(*old.values()))
    return max((len(group) for group in joined(before, after).values()), default=0) > max(12, everyone // 10)


def join(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Row]:
    """The rows with the patients of copies made one, named by the first of them: they can only be split together."""
    leader: dict[str, str] = {}

    def find(patient: str) -> str:
        while (above := leader.get(patient, patient)) != patient:
            leader[patient] = leader.get(above, above)
            patient = above
        return patient

    for pair in pairs:
        one, other = sorted((find(rows[pair.first].patient), find(rows[pair.second].patient)))
        leader[other] = one
    return [replace(row, patient=find(row.patient)) for row in rows]


def joined(before: Sequence[Row], after: Sequence[Row]) -> dict[str, list[str]]:
    """The patients that `join` made one: name -> all that it stands for."""
    groups: dict[str, set[str]] = defaultdict(set)
    for old, new in zip(before, after, strict=True):
        groups[new.patient].add(old.patient)
    return {name: sorted(group) for name, group in groups.items() if len(group) > 1}
