"""What can be read off features that nobody meant to put there: linear probes, fitted on training pictures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models.metrics import Bootstrap, auroc, balanced_accuracy
from models.reports.answers import Answers

Array = npt.NDArray[Any]
# A source with fewer patients than this in training is left out: there is nothing to learn its look from.
LEAST = 5
FOLDS = 5


def linear(seed: int = 0) -> Pipeline:
    """Standardised, then logistic regression with strong shrinkage: features outnumber the pictures of a class."""
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=3000, random_state=seed)
    return make_pipeline(StandardScaler(), model)


def reading(learn: Array, sick: Array, asked: Array) -> Array | None:
    """The score [M] that a probe gives pictures `asked` [M, D] after learning `sick` [N] from `learn` [N, D]."""
    if len(np.unique(sick)) < 2:
        return None
    return np.asarray(linear().fit(learn, sick).predict_proba(asked)[:, 1])


def source_probe(train: Answers, test: Answers, classes: tuple[str, ...], resamples: int, seed: int) -> dict[str, Any]:
    """For each class: how well its pictures' source can be told from the features, by themselves and from thumbnails.

    Within one class, because over all classes the class itself tells the source. Chance is 1 / sources for balanced
    accuracy and 0.5 for AUROC. Figures are {"value", "ci95"}; a class of one source holds the reason instead.
    """
    return {label: _within(label, train, test, resamples, seed) for label in classes}


def _within(label: str, train: Answers, test: Answers, resamples: int, seed: int) -> dict[str, Any]:
    own = np.array([row.label == label for row in train.rows])
    asked = np.array([row.label == label for row in test.rows])
    patients = {name: len(set(train.patient[own & (train.source == name)])) for name in np.unique(train.source[own])}
    known = sorted(str(name) for name, number in patients.items() if number >= LEAST)
    pictures = {
        str(name): {
            "train": int((own & (train.source == name)).sum()),
            "test": int((asked & (test.source == name)).sum()),
        }
        for name in sorted(set(train.source[own]) | set(test.source[asked]))
    }
    if len(known) < 2:
        only = known[0] if known else "no source"
        return {"pictures": pictures, "why_not": f"only {only} has {LEAST} patients of {label} to learn from"}
    own &= np.isin(train.source, known)
    asked &= np.isin(test.source, known)
    assert train.features is not None and test.features is not None
    told: dict[str, Any] = {"pictures": pictures, "sources": known, "chance": round(1 / len(known), 6)}
    for name, learn, ask in (("features", train.features, test.features), ("thumbnails", train.thumbs, test.thumbs)):
        told[name] = {
            "train_folds": _folds(learn[own], train.source[own], train.patient[own], known, resamples, seed),
            "test": _told(
                linear(seed).fit(learn[own], train.source[own]).predict_proba(ask[asked]) if asked.any() else None,
                test.source[asked], test.patient[asked], known, resamples, seed,
            ),
        }  # fmt: skip
    return told


def _folds(X: Array, source: Array, patient: Array, known: list[str], resamples: int, seed: int) -> dict[str, Any]:
    """Each picture told by a probe that saw none of its patient's."""
    least = min(Counter(dict(zip(patient, source, strict=True)).values()).values())
    p = np.zeros((len(X), len(known)))
    splitter = StratifiedGroupKFold(min(FOLDS, max(2, least)), shuffle=True, random_state=seed)
    for learn, ask in splitter.split(X, source, patient):
        if set(source[learn]) == set(known):
            p[ask] = linear(seed).fit(X[learn], source[learn]).predict_proba(X[ask])
    return _told(p, source, patient, known, resamples, seed)


def _told(
    p: Array | None, source: Array, patient: Array, known: list[str], resamples: int, seed: int
) -> dict[str, Any]:
    if p is None or len(set(source)) < 2:
        nothing = {"value": None, "ci95": [None, None]}
        return {"balanced_accuracy": dict(nothing), "auroc": dict(nothing)}
    truth = np.array([known.index(name) for name in source])
    answer = p.argmax(axis=1)

    def area(weight: Array) -> float | None:
        areas = [auroc(truth == i, p[:, i], weight) for i in range(len(known))]
        found = [one for one in areas if one is not None]
        return sum(found) / len(found) if found else None

    boot = Bootstrap(patient, resamples, seed)
    return {
        "balanced_accuracy": boot.figure(lambda w: balanced_accuracy(truth, answer, w)),
        "auroc": boot.figure(area),
    }
