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
operating_points     thresholds for target sensitivities, chosen on validation; PPV and NPV at stated prevalences
audits               with the lungs, all but the border, or the text taken away (models.reports.audits)
Only where the training pictures are looked at too:
source_probe         how well the source can be told from the features (models.reports.probe)
subclasses, subclasses_tell   what each subclass holds and how its pictures fare (models.reports.subclasses)

A figure is {"value": v, "ci95": [low, high]}, from a bootstrap over patients; one that is not defined holds nulls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models import bundle
from models.data import SPLITS, Row, read_index
from models.errors import IndexInvalid, OptionsInvalid
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
from models.reports.answers import WHOLE, Answers, screen
from models.reports.audits import audits, relearned
from models.reports.masks import AUDITS
from models.reports.operating import PREVALENCES, points
from models.reports.probe import source_probe
from models.reports.subclasses import table, untangles

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Examined:
    """An evaluation with all that a report draws. `train` and `validation` are None where the index has none."""

    figures: dict[str, Any]
    screener: bundle.Screener
    test: dict[str, Answers]
    train: dict[str, Answers] | None
    validation: Answers | None


def evaluate(
    folder: Path,
    index: Path,
    split: str = "test",
    *,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    training: bool = False,
    prevalences: Sequence[float] = PREVALENCES,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Screen a split with a bundle, as the worker would, and hold the answers against the labels.

    `training` looks at the index's training pictures too, for what needs them (subclasses, source_probe, relearned).
    The same call gives the same numbers. Raises BundleError, IndexInvalid or OptionsInvalid, each with one line.
    """
    return examine(
        folder, index, split,
        resamples=resamples, seed=seed, device=device, training=training, prevalences=prevalences, progress=progress,
    ).figures  # fmt: skip


def examine(
    folder: Path,
    index: Path,
    split: str = "test",
    *,
    resamples: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    training: bool = False,
    prevalences: Sequence[float] = PREVALENCES,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Examined:
    """As `evaluate`, and keeps the answers."""
    if split not in SPLITS:
        raise OptionsInvalid(f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    if odd := [p for p in prevalences if not 0 < p < 1]:
        raise OptionsInvalid(f"A prevalence lies between 0 and 1, not at {odd[0]:g}.")
    screener = bundle.load(folder, device)
    made_with = screener.record.get("data", {}).get("split_seed")
    read = read_index(index, made_with or 0)
    rows = read.split(split)
    if not rows:
        raise IndexInvalid(f"{index}: there is no picture in split {split}.")
    learn = read.split("train") if training and split != "train" else ()
    judge = read.split("val") if split != "val" else ()
    everything, before = len(rows) + len(learn) + len(judge), 0

    def take(rows: tuple[Row, ...], variants: Sequence[str], features: bool) -> dict[str, Answers]:
        nonlocal before
        start = before
        found = screen(
            screener, rows, variants, features=features, progress=lambda done, _: progress(start + done, everything)
        )
        before += len(rows)
        return found

    variants = (WHOLE, *AUDITS)
    test = take(rows, variants, training)
    validation = take(judge, (WHOLE,), False)[WHOLE] if judge else None
    train = take(learn, variants, True) if learn else None
    figures = _examined(screener, split, test, train, validation, resamples, seed, prevalences)
    return Examined(figures, screener, test, train, validation)


def _examined(
    screener: bundle.Screener,
    split: str,
    test: dict[str, Answers],
    train: dict[str, Answers] | None,
    validation: Answers | None,
    resamples: int,
    seed: int,
    prevalences: Sequence[float],
) -> dict[str, Any]:
    record, classes, whole = screener.record, screener.composition.classes, test[WHOLE]
    positive, threshold = record["positive"], record["threshold"]
    place = classes.index(positive)
    distance = () if whole.distance is None else whole.distance.tolist()
    figures: dict[str, Any] = {
        "bundle": record["name"],
        "weights_sha256": record["weights"]["sha256"],
        "phantom": record["phantom"],
        "split": split,
        "n": len(whole.rows),
        "patients": len({row.patient for row in whole.rows}),
        "classes": list(classes),
        "threshold": threshold,
        "unlike_training": sum(screener.unlike(d) for d in distance),
        "resamples": resamples,
        "seed": seed,
    }
    figures |= report(whole.rows, whole.class_p, classes, positive, threshold, resamples=resamples, seed=seed)
    judged = None
    if validation is not None:
        judged = validation.class_p[:, place], validation.truth(classes) == place
    figures["operating_points"] = points(
        whole.class_p[:, place], whole.truth(classes) == place, whole.patient, threshold, judged,
        prevalences=prevalences, resamples=resamples, seed=seed,
    )  # fmt: skip
    figures["audits"] = audits(test, train, classes, positive, threshold, resamples=resamples, seed=seed)
    if train is not None:
        boot = Bootstrap(whole.patient, resamples, seed)
        figures["relearned"] = relearned(train[WHOLE], whole, positive, boot)
        figures["source_probe"] = source_probe(train[WHOLE], whole, classes, resamples, seed)
        figures["subclasses"] = table(screener, train[WHOLE], whole, resamples, seed)
        figures["subclasses_tell"] = untangles(screener, train[WHOLE])
    return figures


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
