"""The figures of a study's table, over several seeds, alone and against others on the same resampled patients.

A training's own luck shows between seeds, the test split's between patients: a figure is the mean over seeds, and its
interval comes from resampling patients, the same for every seed and, in a comparison, for both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.data import CLASSES, POSITIVE, Row
from models.metrics import Bootstrap, Figure, auroc, balanced_accuracy, share, within_groups_auroc

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scored:
    """Class probabilities [N, C] of the test pictures, and the threshold that validation chose."""

    p: Array
    threshold: float


class Measures:
    """The figures of a table, by the functions that `evaluate` uses, on the rows of one test split."""

    NAMES = (
        "accuracy",
        "balanced_accuracy",
        "auroc",
        "covid_vs_normal",
        "within_source_auroc",
        "sensitivity",
        "specificity",
    )

    def __init__(self, rows: Sequence[Row], resamples: int, seed: int = 0) -> None:
        self.truth = np.array([CLASSES.index(row.label) for row in rows])
        self.source = np.array([row.source for row in rows])
        patient = np.array([row.patient for row in rows])
        self.sick = self.truth == CLASSES.index(POSITIVE)
        self.two = self.sick | (self.truth == CLASSES.index("normal"))
        self.boot = Bootstrap(patient, resamples, seed)
        self.boot_two = Bootstrap(patient[self.two], resamples, seed)

    def mean(self, name: str, seeds: Sequence[Scored]) -> dict[str, Any]:
        """A figure's mean over seeds: {"value", "ci95"}."""
        return self._boot(name).figure(_mean([self._figure(name, one) for one in seeds]))

    def difference(self, name: str, pairs: Sequence[tuple[Scored, Scored]]) -> dict[str, Any]:
        """The mean over seeds of (first less second), and that of each seed: {"value", "ci95", "seeds", "p"}.

        `p` is twice the share of resamples on the rarer side of no difference, at most 1.
        """
        first, second = ([self._figure(name, pair[side]) for pair in pairs] for side in (0, 1))
        boot = self._boot(name)
        gap = _gap(_mean(first), _mean(second))
        found = np.array([value for weight in boot.weights if (value := gap(weight)) is not None])
        beyond = min((found <= 0).mean(), (found >= 0).mean()) if len(found) else 1.0
        whole = np.ones(boot.weights.shape[1])
        each = [_gap(x, y)(whole) for x, y in zip(first, second, strict=True)]
        return boot.difference(_mean(first), _mean(second)) | {
            "seeds": [None if value is None else round(value, 6) for value in each],
            "p": round(min(1.0, 2 * float(beyond)), 6),
        }

    def _boot(self, name: str) -> Bootstrap:
        return self.boot_two if name == "covid_vs_normal" else self.boot

    def _figure(self, name: str, one: Scored) -> Figure:
        score, answer = one.p[:, CLASSES.index(POSITIVE)], one.p.argmax(axis=1)
        truth, sick, two, every = self.truth, self.sick, self.two, np.ones(len(self.truth), dtype=bool)
        flagged = score >= one.threshold
        likelier = score[two] > one.p[two, CLASSES.index("normal")]
        told: dict[str, Callable[[Array], float | None]] = {
            "accuracy": lambda w: share(answer == truth, every, w),
            "balanced_accuracy": lambda w: balanced_accuracy(truth, answer, w),
            "auroc": lambda w: auroc(sick, score, w),
            "covid_vs_normal": lambda w: share(likelier == sick[two], every[two], w),
            "within_source_auroc": lambda w: within_groups_auroc(sick, score, self.source, w),
            "sensitivity": lambda w: share(flagged, sick, w),
            "specificity": lambda w: share(~flagged, ~sick, w),
        }
        return told[name]


def _mean(figures: Sequence[Figure]) -> Figure:
    def mean(weight: Array) -> float | None:
        values = [value for figure in figures if (value := figure(weight)) is not None]
        return sum(values) / len(values) if len(values) == len(figures) else None

    return mean


def _gap(a: Figure, b: Figure) -> Figure:
    def gap(weight: Array) -> float | None:
        x, y = a(weight), b(weight)
        return None if x is None or y is None else x - y

    return gap
