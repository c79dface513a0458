"""What a bundle is worth on a split of an index: the JSON of `cxrscreen evaluate`.

accuracy, balanced_accuracy, confusion   the class of the largest composed probability against the label, three classes
covid.sensitivity, .specificity, .ppv, .npv   flagged (score >= the bundle's threshold) against covid or not; ppv and
    npv hold for the share of covid in this split and for no other
covid.auroc          score = P(covid), covid against all the rest
unlike_training       pictures that the distance gate would refuse; they count in all figures all the same
covid_vs_normal      only pictures labelled covid or normal; the answer is the likelier of these two classes
within_source_auroc  as covid.auroc, counting only pairs of one source: telling sources apart does not help
ece, brier           calibration of the answered class (10 bins); multi-class Brier score
by_source            the same for each source alone

A figure is {"value": v, "ci95": [low, high]}, from a bootstrap over patients; one that is not defined holds nulls.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models import bundle
from models.data import SPLITS, Row, read_index
from models.errors import IndexInvalid, OptionsInvalid
from models.loading import pictures
from models.metrics import (
    Bootstrap,
    auroc,
    balanced_accuracy,
    brier,
    calibration_error,
    confusion,
    share,
    within_groups_auroc,
)

Array = npt.NDArray[Any]
CHUNK = 64


def evaluate(
    folder: Path,
    index: Path,
    split: str = "test",
    *,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Screen a split with a bundle, as the worker would, and hold the answers against the labels.

    The same call gives the same numbers. Raises BundleError or IndexInvalid, each with one line.
    """
    if split not in SPLITS:
        raise OptionsInvalid(f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    screener = bundle.load(folder, device)
    made_with = screener.record.get("data", {}).get("split_seed")
    rows = read_index(index, made_with or 0).split(split)
    if not rows:
        raise IndexInvalid(f"{index}: there is no picture in split {split}.")
    class_p, distance = _screen(screener, rows, progress)
    record = screener.record
    head: dict[str, Any] = {
        "bundle": record["name"],
        "weights_sha256": record["weights"]["sha256"],
        "phantom": record["phantom"],
        "split": split,
        "n": len(rows),
        "patients": len({row.patient for row in rows}),
        "classes": list(screener.composition.classes),
        "threshold": record["threshold"],
        "unlike_training": sum(screener.unlike(d) for d in distance),
        "resamples": resamples,
        "seed": seed,
    }
    return head | report(
        rows,
        class_p,
        screener.composition.classes,
        record["positive"],
        record["threshold"],
        resamples=resamples,
        seed=seed,
    )


def report(
    rows: tuple[Row, ...],
    class_p: Array,
    classes: tuple[str, ...],
    positive: str,
    threshold: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of rows with class probabilities [N, C]; what `evaluate` prints below its head."""
    truth = np.array([classes.index(row.label) for row in rows])
    patient = np.array([row.patient for row in rows])
    source = np.array([row.source for row in rows])
    whole = _figures(truth, class_p, patient, classes, positive, threshold, resamples, seed)
    boot = Bootstrap(patient, resamples, seed)
    is_positive, score = truth == classes.index(positive), class_p[:, classes.index(positive)]
    whole["within_source_auroc"] = boot.figure(lambda w: within_groups_auroc(is_positive, score, source, w))
    whole["by_source"] = {}
    for name in np.unique(source):
        own = source == name
        figures = _figures(truth[own], class_p[own], patient[own], classes, positive, threshold, resamples, seed)
        labels = {label: int((truth[own] == i).sum()) for i, label in enumerate(classes)}
        whole["by_source"][str(name)] = {"n": int(own.sum()), "labels": labels, **figures}
    return whole


def _figures(
    truth: Array,
    p: Array,
    patient: Array,
    classes: tuple[str, ...],
    positive: str,
    threshold: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    figure = Bootstrap(patient, resamples, seed).figure
    answer, yes = p.argmax(axis=1), classes.index(positive)
    sick, score = truth == yes, p[:, yes]
    flagged = score >= threshold
    every = np.ones(len(truth), dtype=bool)
    figures: dict[str, Any] = {
        "accuracy": figure(lambda w: share(answer == truth, every, w)),
        "balanced_accuracy": figure(lambda w: balanced_accuracy(truth, answer, w)),
        "confusion": confusion(truth, answer, len(classes)),
        positive: {
            "sensitivity": figure(lambda w: share(flagged, sick, w)),
            "specificity": figure(lambda w: share(~flagged, ~sick, w)),
            "auroc": figure(lambda w: auroc(sick, score, w)),
            "ppv": figure(lambda w: share(sick, flagged, w)),
            "npv": figure(lambda w: share(~sick, ~flagged, w)),
        },
        "ece": figure(lambda w: calibration_error(p, truth, w)),
        "brier": figure(lambda w: brier(p, truth, w)),
    }
    if "normal" in classes:
        figures[f"{positive}_vs_normal"] = _two(truth, p, patient, classes, positive, resamples, seed)
    return figures


def _two(
    truth: Array,
    p: Array,
    patient: Array,
    classes: tuple[str, ...],
    positive: str,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    yes, no = classes.index(positive), classes.index("normal")
    among = (truth == yes) | (truth == no)
    sick, pair = truth[among] == yes, p[among][:, [yes, no]].astype(float)
    score = pair[:, 0] / np.maximum(pair.sum(axis=1), 1e-12)
    said = pair[:, 0] > pair[:, 1]
    every = np.ones(len(sick), dtype=bool)
    if not len(sick):
        nothing = {"value": None, "ci95": [None, None]}
        return {name: dict(nothing) for name in ("accuracy", "sensitivity", "specificity", "auroc")}
    figure = Bootstrap(patient[among], resamples, seed).figure
    return {
        "accuracy": figure(lambda w: share(said == sick, every, w)),
        "sensitivity": figure(lambda w: share(said, sick, w)),
        "specificity": figure(lambda w: share(~said, ~sick, w)),
        "auroc": figure(lambda w: auroc(sick, score, w)),
    }


def _screen(
    screener: bundle.Screener, rows: tuple[Row, ...], progress: Callable[[int, int], None]
) -> tuple[Array, list[float]]:
    class_p: list[Array] = []
    distance: list[float] = []
    waiting: list[Array] = []
    for done, (_, pixels) in enumerate(pictures(rows), start=1):
        waiting.append(pixels)
        if len(waiting) == CHUNK or done == len(rows):
            answers = screener.predict(waiting)
            class_p.append(answers.class_p)
            distance += [] if answers.distance is None else answers.distance.tolist()
            waiting = []
            progress(done, len(rows))
    return np.concatenate(class_p), distance
