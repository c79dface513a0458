"""Operating points: what each target sensitivity costs, and what a flag means where the disease is rarer or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.learning.calibrate import fit_threshold
from models.metrics import Bootstrap, share

Array = npt.NDArray[Any]
TARGETS = (0.8, 0.9, 0.95, 0.99)
PREVALENCES = (0.01, 0.1, 0.22)


def points(
    score: Array,
    sick: Array,
    patient: Array,
    threshold: float,
    validation: tuple[Array, Array] | None,
    *,
    prevalences: Sequence[float] = PREVALENCES,
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The bundle's own threshold first (target None), then one for each target, chosen on `validation` (score, sick).

    Each has sensitivity and specificity, and PPV and NPV at each prevalence by Bayes' rule: those hold if the sick and
    the well there are like the sick and the well here.
    """
    chosen: list[tuple[float | None, float]] = [(None, threshold)]
    if validation is not None and validation[1].any():
        chosen += [(target, fit_threshold(validation[0], validation[1], target)) for target in TARGETS]
    boot = Bootstrap(patient, resamples, seed)
    return [{"target": target, **_point(score, sick, cut, prevalences, boot)} for target, cut in chosen]


def _point(score: Array, sick: Array, cut: float, prevalences: Sequence[float], boot: Bootstrap) -> dict[str, Any]:
    flagged = score >= cut

    def bayes(prevalence: float, positive: bool) -> Any:
        def of(weight: Array) -> float | None:
            sensitivity, specificity = share(flagged, sick, weight), share(~flagged, ~sick, weight)
            if sensitivity is None or specificity is None:
                return None
            if positive:
                right, wrong = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
            else:
                right, wrong = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
            return right / (right + wrong) if right + wrong > 0 else None

        return boot.figure(of)

    return {
        "threshold": cut,
        "sensitivity": boot.figure(lambda w: share(flagged, sick, w)),
        "specificity": boot.figure(lambda w: share(~flagged, ~sick, w)),
        "flagged": boot.figure(lambda w: share(flagged, np.ones(len(sick), dtype=bool), w)),
        "at_prevalence": {f"{p:g}": {"ppv": bayes(p, True), "npv": bayes(p, False)} for p in prevalences},
    }
