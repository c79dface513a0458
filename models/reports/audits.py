"""Audits: the same figures for pictures from which the lungs, all but the border, or the text were taken away.

What a network still knows without the lungs it has not read in the lungs. Two questions, for each mask:
covid.auroc, within_source_auroc   what this network says of such pictures; they are strange to it, so that a low
    figure acquits it of relying on what is left, but does not prove that nothing is left
relearned.auroc, relearned.within_source_auroc   what a probe on its features, taught with training pictures under the
    same mask, can still tell; this is the harder test

A figure far below 0.5 is as telling as one far above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.metrics import Bootstrap, auroc, share, within_groups_auroc
from models.reports.answers import WHOLE, Answers
from models.reports.masks import AUDITS
from models.reports.probe import reading

Array = npt.NDArray[Any]


def audits(
    test: Mapping[str, Answers],
    train: Mapping[str, Answers] | None,
    classes: tuple[str, ...],
    positive: str,
    threshold: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """A figure for each audit whose answers are in `test`; `relearned` where `train` has them too, with features."""
    place = classes.index(positive)
    whole = test[WHOLE]
    sick, source = whole.truth(classes) == place, whole.source
    boot = Bootstrap(whole.patient, resamples, seed)
    every = np.ones(len(sick), dtype=bool)
    told: dict[str, Any] = {}
    for name in AUDITS:
        if name not in test:
            continue
        score = test[name].class_p[:, place]
        flagged = score >= threshold
        told[name] = {
            positive: {
                "auroc": _area(boot, sick, score),
                "auroc_change": _change(boot, sick, score, whole.class_p[:, place]),
                "sensitivity": _share(boot, flagged, sick),
                "specificity": _share(boot, ~flagged, ~sick),
            },
            "within_source_auroc": _within(boot, sick, score, source),
            "share_flagged": _share(boot, flagged, every),
            "taken_away": round(float(test[name].taken.mean()), 4),
        }
        if train is not None and name in train:
            told[name]["relearned"] = relearned(train[name], test[name], positive, boot)
    return told


def relearned(train: Answers, test: Answers, positive: str, boot: Bootstrap) -> dict[str, Any]:
    """What a probe, taught on the features of `train`, tells of `test`; nulls without features or without a class."""
    nothing = {"value": None, "ci95": [None, None]}
    if train.features is None or test.features is None:
        return {"auroc": nothing, "within_source_auroc": dict(nothing)}
    taught = np.array([row.label == positive for row in train.rows])
    score = reading(train.features, taught, test.features)
    if score is None:
        return {"auroc": nothing, "within_source_auroc": dict(nothing)}
    sick = np.array([row.label == positive for row in test.rows])
    return {"auroc": _area(boot, sick, score), "within_source_auroc": _within(boot, sick, score, test.source)}


def _area(boot: Bootstrap, sick: Array, score: Array) -> dict[str, Any]:
    return boot.figure(lambda w: auroc(sick, score, w))


def _change(boot: Bootstrap, sick: Array, score: Array, before: Array) -> dict[str, Any]:
    return boot.difference(lambda w: auroc(sick, score, w), lambda w: auroc(sick, before, w))


def _within(boot: Bootstrap, sick: Array, score: Array, source: Array) -> dict[str, Any]:
    return boot.figure(lambda w: within_groups_auroc(sick, score, source, w))


def _share(boot: Bootstrap, hits: Array, among: Array) -> dict[str, Any]:
    return boot.figure(lambda w: share(hits, among, w))
