"""Figures of a classification, each with a weight for every picture, so that a bootstrap is one multiplication.

A figure that the data do not define (no positive picture, one class only) is None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]
Figure = Callable[[Array], float | None]


def auroc(truth: Bools, score: Array, weight: Array | None = None) -> float | None:
    """P(a positive scores higher than a negative), ties counted half; Mann-Whitney's statistic."""
    truth = np.asarray(truth, dtype=bool)
    weight = np.ones(len(truth)) if weight is None else weight
    if not len(truth):
        return None
    order = np.argsort(score, kind="stable")
    ranked, positive = np.asarray(score)[order], truth[order]
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # where each run of equal scores begins
    up = np.add.reduceat(np.where(positive, weight[order], 0.0), first)
    down = np.add.reduceat(np.where(positive, 0.0, weight[order]), first)
    below = np.cumsum(down) - down
    return _ratio(float((up * (below + down / 2)).sum()), float(up.sum() * down.sum()))


def share(hits: Bools, among: Bools, weight: Array) -> float | None:
    """The weighted share of `hits` among the pictures `among`."""
    return _ratio(float(weight[hits & among].sum()), float(weight[among].sum()))


def balanced_accuracy(truth: Array, answer: Array, weight: Array) -> float | None:
    """Mean recall of the classes that occur."""
    recalls = [share(answer == truth, truth == label, weight) for label in np.unique(truth)]
    known = [recall for recall in recalls if recall is not None]
    return sum(known) / len(known) if known else None


def within_groups_auroc(truth: Bools, score: Array, group: Array, weight: Array) -> float | None:
    """AUROC over those pairs only whose two pictures come from the same group."""
    won, pairs = 0.0, 0.0
    for name in np.unique(group):
        own = group == name
        number = float(weight[own & truth].sum() * weight[own & ~truth].sum())
        area = auroc(truth[own], score[own], weight[own])
        if area is not None:
            won, pairs = won + area * number, pairs + number
    return _ratio(won, pairs)


def calibration_error(p: Array, truth: Array, weight: Array, bins: int = 10) -> float | None:
    """Expected calibration error of the answered class: mean gap of confidence and accuracy over equal-width bins."""
    confidence, hits = p.max(axis=1), (p.argmax(axis=1) == truth).astype(float)
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, weight * (confidence - hits), minlength=bins)
    return _ratio(float(np.abs(gap).sum()), float(weight.sum()))


def brier(p: Array, truth: Array, weight: Array) -> float | None:
    """Multi-class Brier score: mean over pictures of the squared gaps summed over classes, 0 best, 2 worst."""
    gaps = ((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1)
    return _ratio(float((weight * gaps).sum()), float(weight.sum()))


def confusion(truth: Array, answer: Array, classes: int) -> list[list[int]]:
    """Counts; rows are the truth, columns the answer."""
    table = np.zeros((classes, classes), dtype=int)
    np.add.at(table, (truth, answer), 1)
    return [[int(cell) for cell in row] for row in table]


class Bootstrap:
    """Resamples patients: pictures of one patient stand or fall together. The same seed gives the same interval."""

    def __init__(self, clusters: Array, resamples: int = 1000, seed: int = 0) -> None:
        names, members = np.unique(clusters, return_inverse=True)
        chance = np.random.default_rng(seed)
        drawn = chance.integers(len(names), size=(resamples, len(names)))
        times = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
        self.weights = times[:, members].astype(float)  # [resamples, N]

    def figure(self, of: Figure) -> dict[str, Any]:
        """`{"value": v, "ci95": [low, high]}`; nulls where the figure is not defined."""
        value = of(np.ones(self.weights.shape[1]))
        if value is None:
            return {"value": None, "ci95": [None, None]}
        drawn = [v for weight in self.weights if (v := of(weight)) is not None]
        if not drawn:
            return {"value": _round(value), "ci95": [None, None]}
        low, high = np.percentile(drawn, [2.5, 97.5])
        return {"value": _round(value), "ci95": [_round(low), _round(high)]}

    def difference(self, of_a: Figure, of_b: Figure) -> dict[str, Any]:
        """The figure of a less that of b, as `figure` gives it: both are taken on the same patients each time."""

        def gap(weight: Array) -> float | None:
            a, b = of_a(weight), of_b(weight)
            return None if a is None or b is None else a - b

        return self.figure(gap)


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def _round(value: float) -> float:
    return round(float(value), 6)
