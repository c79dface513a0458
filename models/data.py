"""Reads the INDEX of a data set: a CSV with columns file, label, patient, source, split.

Paths are relative to the CSV; other columns are ignored. Where there is no split column, or it is empty in every row,
a patient-grouped, stratified split is made from a seed. What could leak from training into the figures is an error.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import IndexInvalid

CLASSES = ("covid", "normal", "pneumonia")
POSITIVE = "covid"
SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.1, 0.2)
Counts = npt.NDArray[np.float64]
NEEDED = ("file", "label", "patient", "source")


@dataclass(frozen=True)
class Row:
    """One picture of a data set. `name` is the path as the index wrote it."""

    path: Path
    name: str
    label: str
    patient: str
    source: str
    split: str


@dataclass(frozen=True)
class Index:
    path: Path
    rows: tuple[Row, ...]
    split_seed: int | None  # None where the index brought its own split

    def split(self, *names: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.split in names)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images for each split and label."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for row in self.rows:
            found[row.split][row.label] += 1
        return {split: dict(sorted(found[split].items())) for split in SPLITS if split in found}


def read_index(path: Path, seed: int = 0) -> Index:
    """The rows of an index, in its order. Raises IndexInvalid with one line that names what is wrong and where."""
    rows = _read_rows(path)
    without = sum(not row.split for row in rows)
    made = without == len(rows)
    if without and not made:
        raise IndexInvalid(
            f"{path}: {without} of {len(rows)} rows have no split; fill them all in, or leave the column out."
        )
    if made:
        rows = assign_splits(rows, seed)
    _forbid_leaks(path, rows)
    return Index(path, tuple(rows), seed if made else None)


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


def _read_rows(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            found = [name.strip() for name in reader.fieldnames or []]
            if missing := [name for name in NEEDED if name not in found]:
                raise IndexInvalid(
                    f"{path} has no column {', '.join(missing)}; its columns are: {', '.join(found) or 'none'}. "
                    f"Needed: {', '.join(NEEDED)}, and split where there is one."
                )
            reader.fieldnames = found
            rows = [_row(path, reader.line_num, cells) for cells in reader]
    except FileNotFoundError:
        raise IndexInvalid(f"There is no index {path}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IndexInvalid(f"{path} cannot be read as a CSV of UTF-8 text: {error}.") from None
    if not rows:
        raise IndexInvalid(f"{path} has no rows.")
    if absent := [row.name for row in rows if not row.path.is_file()]:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise IndexInvalid(f"{path}: the file {absent[0]} does not exist{more}.")
    return rows


def _row(path: Path, line: int, cells: dict[str, str | None]) -> Row:
    value = {name: (cells.get(name) or "").strip() for name in (*NEEDED, "split")}
    for name in ("file", "label", "patient"):
        if not value[name]:
            raise IndexInvalid(f"{path}, line {line}: the {name} is empty.")
    if value["label"] not in CLASSES:
        raise IndexInvalid(f"{path}, line {line}: unknown label {value['label']!r}; known are {', '.join(CLASSES)}.")
    if value["split"] and value["split"] not in SPLITS:
        raise IndexInvalid(f"{path}, line {line}: unknown split {value['split']!r}; known are {', '.join(SPLITS)}.")
    return Row(
        path.parent / value["file"],
        value["file"],
        value["label"],
        value["patient"],
        value["source"] or "unknown",
        value["split"],
    )


def _forbid_leaks(path: Path, rows: Sequence[Row]) -> None:
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
