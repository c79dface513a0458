"""What is chosen on validation once the weights stand: the temperature and the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from models.compose import Composition

# Cooler than this is what a small validation set, told apart without error, would ask for.
COOLEST, HOTTEST = 0.5, 5.0


def softmax(logits: npt.NDArray[Any], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def fit_temperature(logits: npt.NDArray[Any], truth: npt.NDArray[np.int64], composition: Composition) -> float:
    """The temperature of the least log loss of the composed classes (Guo et al. 2017); subclass logits [N, S]."""

    def loss(log_temperature: float) -> float:
        p = composition.probabilities(softmax(logits, float(np.exp(log_temperature))))
        return float(-np.log(np.maximum(p[np.arange(len(truth)), truth], 1e-7)).mean())

    found = minimize_scalar(loss, bounds=(np.log(COOLEST), np.log(HOTTEST)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def fit_threshold(score: npt.NDArray[Any], positive: npt.NDArray[np.bool_], sensitivity: float) -> float:
    """The highest threshold at which at least `sensitivity` of the positives are flagged (score >= threshold).

    It is put halfway to the next lower score: right at a picture's own score, rounding would decide about it.
    """
    ranked = np.sort(score[positive])
    least = ranked[int(np.floor((1 - sensitivity) * len(ranked) + 1e-9))]
    lower = score[score < least]
    return round(float((least + (lower.max() if len(lower) else 0.0)) / 2), 6)
