"""An INDEX becomes rows in splits: read, joined where pictures are copies, split by patient, and searched for leaks.

Where an index brings no split, a patient-grouped, stratified one is made from a seed, after the search for copies. What
could leak from training into the figures is an error.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models import indexes
from models.errors import IndexInvalid
from models.indexes import duplicates
from models.indexes.rows import CLASSES, SPLITS, Found, Options, Row

__all__ = [
    "CLASSES", "POSITIVE", "SPLITS", "Index", "Options", "Row", "assign_splits", "forbid_leaks", "lacks", "read_index",
    "require_trainable", "split_rows",
]  # fmt: skip

POSITIVE = "covid"
SHARES = (0.7, 0.1, 0.2)
Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Index:
    path: Path
    rows: tuple[Row, ...]
    split_seed: int | None  # None where the index brought its own split
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> pictures
    notes: tuple[str, ...] = ()

    def split(self, *names: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.split in names)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images for each split and label."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for row in self.rows:
            found[row.split][row.label] += 1
        return {split: dict(sorted(found[split].items())) for split in SPLITS if split in found}


def read_index(path: Path, seed: int = 0, format: str = "auto", options: Options | None = None) -> Index:
    """The rows of an index of any known format, in its order. Raises IndexInvalid, one line that names the first fault.

    Where a split has to be made, every picture is read once for its hashes before; `cxrscreen index` does that once
    and writes the outcome down.
    """
    kind, found = indexes.read(path, format, options)
    rows, made = found.rows, lacks(path, kind, found)
    if made:
        rows, prints = duplicates.fingerprints(rows)
        pairs, note = duplicates.believable(rows, duplicates.search(rows, prints))
        found.notes += [f"{path}: {note}"] if note else []
        rows = split_rows(duplicates.join(rows, pairs), seed)
    forbid_leaks(path, rows)
    return Index(path, tuple(rows), seed if made else None, dict(found.left_out), tuple(found.notes))


def lacks(path: Path, kind: str, found: Found) -> bool:
    """Whether a split has to be made: of all rows, or, of training rows that another format brings without a val."""
    without = sum(not row.split for row in found.rows)
    if without and without < len(found.rows):
        raise IndexInvalid(
            f"{path}: {without} of {len(found.rows)} rows have no split; fill them all in, or leave the column out."
        )
    there = {row.split for row in found.rows}
    if kind != "csv" and "train" in there and "val" not in there:
        found.notes.append(f"{path}: it brings no validation split; one patient in eight of train is taken for it.")
        return True
    return bool(without)


def split_rows(rows: Sequence[Row], seed: int, anew: bool = False) -> list[Row]:
    """Splits for rows that have none, or, where train stands without val, a val out of train; `anew` forgets theirs."""
    if anew or not any(row.split for row in rows):
        return assign_splits(rows, seed)
    learn = [row for row in rows if row.split == "train"]
    chosen = {row.path: row.split for row in assign_splits(learn, seed, ("train", "val"), (7 / 8, 1 / 8))}
    return [replace(row, split=chosen.get(row.path, row.split)) for row in rows]


def require_trainable(index: Index) -> None:
    """Raises IndexInvalid unless training and validation hold every class, of two patients at least."""
    for label in CLASSES:
        patients = {row.patient for row in index.rows if row.label == label and row.split != "test"}
        if len(patients) == 1:
            raise IndexInvalid(
                f"{index.path}: class {label} has one patient ({patients.pop()}); "
                "training and validation need at least one each."
            )
        for split in ("train", "val"):
            if not any(row.label == label for row in index.split(split)):
                raise IndexInvalid(f"{index.path}: there is no {label} picture in split {split}.")


def assign_splits(
    rows: Sequence[Row], seed: int, splits: Sequence[str] = SPLITS, shares: Sequence[float] = SHARES
) -> list[Row]:
    """Give each patient one split, so that every label and source is spread over the splits by `shares` of images."""
    chance = np.random.default_rng(seed)
    images: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        images[row.patient].append(row)
    frequency = Counter(row.label for row in rows)
    strata: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(images):
        # A patient with pictures of several labels counts for the rarest one, which can least spare them.
        strata[min((row.label for row in images[patient]), key=lambda label: (frequency[label], label))].append(patient)
    chosen: dict[str, str] = {}
    # Images given to each split: of a label, and of a label from one source.
    given: dict[tuple[str, str], Counts] = defaultdict(lambda: np.zeros(len(splits)))
    for label in sorted(strata, key=lambda label: (frequency[label], label)):
        patients = [strata[label][i] for i in chance.permutation(len(strata[label]))]
        for position, patient in enumerate(patients):
            own = Counter((row.label, name) for row in images[patient] for name in ("", row.source))
            lacking = np.zeros(len(splits))
            for cell, number in own.items():
                lacking += number * (np.array(shares) * (given[cell].sum() + number) - given[cell])
            # A class of few patients gives one to each split first; otherwise a small share would never get any.
            few = len(patients) < 10 and position < len(splits)
            target = position if few else int(np.argmax(lacking))
            for cell, number in own.items():
                given[cell][target] += number
            chosen[patient] = splits[target]
    return [replace(row, split=chosen[row.patient]) for row in rows]


def forbid_leaks(path: Path, rows: Sequence[Row]) -> None:
    files: dict[Path, Row] = {}
    patients: dict[str, Row] = {}
    for row in rows:
        twin = files.setdefault(row.path, row)
        if twin is not row:
            where = f"in splits {twin.split} and {row.split}" if twin.split != row.split else "twice"
            raise IndexInvalid(f"{path}: the file {row.name} stands {where}.")
        other = patients.setdefault(row.patient, row)
        if other.split != row.split:
            raise IndexInvalid(
                f"{path}: patient {row.patient} is in two splits, {other.split} ({other.name}) and "
                f"{row.split} ({row.name})."
            )
