"""Leave one source out: train on all sources but one, and ask about the one that was never seen."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data import CLASSES, POSITIVE, Row, read_index
from models.errors import IndexInvalid
from models.evaluation import evaluate
from models.learning.loop import Tell
from models.learning.recipes import TrainOptions
from models.training import train

FILE = "holdout.csv"


@dataclass(frozen=True)
class Left:
    """A source to leave out: its pictures, what is left to learn from, and why it cannot be done, "" where it can."""

    source: str
    asked: tuple[Row, ...]
    learn: tuple[Row, ...]
    why_not: str


def plan(rows: Sequence[Row]) -> list[Left]:
    """One entry for each source. A patient of the source left out teaches nothing, wherever his pictures stand.

    What cannot be asked has a reason: the classes that no other source holds, or has in training and in validation.
    """
    planned = []
    for source in sorted({row.source for row in rows}):
        asked = tuple(row for row in rows if row.source == source)
        known = {row.patient for row in asked}
        learn = tuple(row for row in rows if row.source != source and row.patient not in known and row.split != "test")
        planned.append(Left(source, asked, learn, _why_not(source, learn)))
    return planned


def leave_one_out(
    index: Path,
    out: Path,
    options: TrainOptions,
    *,
    resamples: int = 1000,
    tell: Tell = lambda _: None,
    begin: Callable[[str], None] = lambda source: None,
) -> dict[str, Any]:
    """Train without each source in turn and evaluate on all its pictures; bundles go to `out/SOURCE`.

    Each answer has `pictures` of the source by label, `learnt_from` by source and label, and either `figures`, as
    `evaluate` prints them, or `why_not`. `undefined` says in words which figure the source's own labels do not allow.
    Interrupted, the same call goes on where it was. Raises what `train` raises.
    """
    read = read_index(index, options.seed)
    if len({row.source for row in read.rows}) < 2:
        raise IndexInvalid(f"{index}: there is one source only; there is none to leave out.")
    told: dict[str, Any] = {}
    for left in plan(read.rows):
        own = Counter(row.label for row in left.asked)
        answer: dict[str, Any] = {
            "pictures": {label: own[label] for label in CLASSES},
            "learnt_from": _by_source(left.learn),
            "undefined": _undefined(left.source, own),
        }
        told[left.source] = answer
        if left.why_not:
            answer["why_not"] = left.why_not
            continue
        begin(left.source)
        folder = out / _name(left.source)
        made = _write(left, out / f"{_name(left.source)}-{FILE}")
        bundle = train(made, folder, options, tell)
        answer["figures"] = evaluate(bundle, made, "test", resamples=resamples)
    return told


def _why_not(source: str, learn: Sequence[Row]) -> str:
    there = {label: {row.split for row in learn if row.label == label} for label in CLASSES}
    if alone := [label for label in CLASSES if not there[label]]:
        return f"{' and '.join(alone)} only in {source}: without it there is nothing to learn it from."
    if thin := [label for label in CLASSES if there[label] != {"train", "val"}]:
        return f"without {source} there is no {' and no '.join(thin)} left in both training and validation."
    return ""


def _undefined(source: str, own: Counter[str]) -> str:
    if not own[POSITIVE]:
        return f"{source} has no {POSITIVE}: no AUROC and no sensitivity, only false alarms (specificity)."
    if own[POSITIVE] == sum(own.values()):
        return f"{source} has nothing but {POSITIVE}: no AUROC and no specificity, only sensitivity."
    return ""


def _by_source(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for row in rows:
        counted.setdefault(row.source, Counter())[row.label] += 1
    return {source: {label: counted[source][label] for label in CLASSES} for source in sorted(counted)}


def _write(left: Left, path: Path) -> Path:
    """An index of what is learnt from, as it was split, and of the source left out, all of it test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label", "patient", "source", "split", "view", "sex"))
        for row in (*left.learn, *left.asked):
            split = "test" if row.source == left.source else row.split
            writer.writerow((row.path.resolve(), row.label, row.patient, row.source, split, row.view, row.sex))
    return path


def _name(source: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in source) or "unnamed"
