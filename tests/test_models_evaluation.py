"""The report of an evaluation, from answers that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.data import CLASSES, Row
from models.evaluation import report


def rows(labels: list[str], sources: list[str]) -> tuple[Row, ...]:
    return tuple(
        Row(Path(str(i)), str(i), label, f"p{i}", source, "test")
        for i, (label, source) in enumerate(zip(labels, sources, strict=True))
    )


def made(labels, sources, p, threshold=0.3) -> dict:
    figures = report(rows(labels, sources), np.array(p), CLASSES, "covid", threshold, resamples=60)
    json.dumps(figures, allow_nan=False)
    return figures


LABELS = ["covid", "covid", "normal", "normal", "pneumonia", "pneumonia"]
SOURCES = ["a", "a", "b", "b", "a", "b"]
P = [
    [0.8, 0.1, 0.1],
    [0.4, 0.1, 0.5],  # flagged, though called pneumonia
    [0.1, 0.8, 0.1],
    [0.35, 0.3, 0.35],  # flagged: a false alarm
    [0.1, 0.2, 0.7],
    [0.2, 0.5, 0.3],
]


def test_figures_by_hand():
    figures = made(LABELS, SOURCES, P)
    assert figures["confusion"] == [[1, 0, 1], [1, 1, 0], [0, 1, 1]]
    assert figures["accuracy"]["value"] == 0.5
    assert figures["balanced_accuracy"]["value"] == 0.5
    covid = {name: figure["value"] for name, figure in figures["covid"].items()}
    assert covid == {"sensitivity": 1.0, "specificity": 0.75, "auroc": 1.0, "ppv": 0.666667, "npv": 1.0}
    pair = {name: figure["value"] for name, figure in figures["covid_vs_normal"].items()}
    assert pair == {"accuracy": 0.75, "sensitivity": 1.0, "specificity": 0.5, "auroc": 1.0}


def test_within_source_leaves_out_what_only_tells_the_sources_apart():
    # Every picture of source a scores high, so covid against the rest looks good over all.
    labels = ["covid", "pneumonia", "covid", "pneumonia", "normal", "normal", "normal"]
    sources = ["a", "a", "a", "a", "b", "b", "b"]
    p = [[s, (1 - s) / 2, (1 - s) / 2] for s in (0.8, 0.9, 0.7, 0.6, 0.1, 0.1, 0.1)]
    figures = made(labels, sources, p)
    assert figures["within_source_auroc"]["value"] == 0.5
    assert figures["covid"]["auroc"]["value"] == 0.8
    assert figures["by_source"]["a"]["labels"] == {"covid": 2, "normal": 0, "pneumonia": 2}


def test_what_is_not_defined_is_null():
    figures = made(["normal", "pneumonia"], ["a", "b"], [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    nothing = {"value": None, "ci95": [None, None]}
    assert figures["covid"]["auroc"] == figures["covid"]["sensitivity"] == nothing
    assert figures["covid"]["ppv"] == nothing
    assert figures["covid_vs_normal"]["auroc"] == nothing
    assert figures["by_source"]["b"]["covid_vs_normal"]["accuracy"] == nothing
    assert figures["within_source_auroc"] == nothing
    assert figures["covid"]["specificity"]["value"] == 1.0


@pytest.mark.parametrize("threshold", [0.4, 0.4001])
def test_a_score_at_the_threshold_is_flagged(threshold):
    figures = made(LABELS, SOURCES, P, threshold)
    assert figures["covid"]["sensitivity"]["value"] == (1.0 if threshold == 0.4 else 0.5)
