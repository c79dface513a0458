"""Figures and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

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

CHANCE = np.random.default_rng(0)


def test_auroc_agrees_with_scikit_learn_with_ties_and_weights():
    truth = CHANCE.random(300) < 0.3
    score = np.round(CHANCE.random(300) + 0.3 * truth, 1)
    weight = CHANCE.integers(0, 4, size=300).astype(float)
    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    assert auroc(truth, score, weight) == pytest.approx(roc_auc_score(truth, score, sample_weight=weight))


def test_what_the_data_do_not_define_is_none():
    yes, score, one = np.ones(4, bool), np.arange(4.0), np.ones(4)
    assert auroc(yes, score) is None
    assert auroc(~yes, score) is None
    assert share(yes, ~yes, one) is None
    assert within_groups_auroc(yes, score, np.array(list("aabb")), one) is None
    figure = Bootstrap(np.arange(4), 20).figure(lambda w: auroc(yes, score, w))
    assert figure == {"value": None, "ci95": [None, None]}


def test_within_groups_counts_no_pair_across_groups():
    # Across groups the score is perfect, within each it is upside down.
    group = np.array(["a", "a", "b", "b"])
    truth = np.array([False, True, False, True])
    score = np.array([0.2, 0.1, 0.9, 0.8])
    assert within_groups_auroc(truth, score, group, np.ones(4)) == 0
    assert auroc(truth, score) == 0.25


def test_balanced_accuracy_and_brier_agree_with_scikit_learn():
    truth, p = CHANCE.integers(0, 3, 200), CHANCE.dirichlet(np.ones(3), 200)
    weight = CHANCE.integers(1, 4, 200).astype(float)
    answer = p.argmax(axis=1)
    assert balanced_accuracy(truth, answer, weight) == pytest.approx(
        balanced_accuracy_score(truth, answer, sample_weight=weight)
    )
    assert brier(p, truth, weight) == pytest.approx(
        brier_score_loss(truth, p, sample_weight=weight, labels=[0, 1, 2], scale_by_half=False)
    )


def test_calibration_error_by_hand():
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.65, 0.35]])
    truth = np.array([0, 1, 1, 0])
    # Bin .9: two at .95, half right: gap .45. Bin .6: two at .65, both right: gap .35.
    assert calibration_error(p, truth, np.ones(4)) == pytest.approx(0.4)


def test_confusion_rows_are_the_truth():
    assert confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3) == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_intervals_are_seeded_and_hold_the_value():
    hits = CHANCE.random(120) < 0.7
    every, patients = np.ones(120, bool), np.arange(120)
    first, second = (Bootstrap(patients, 200, seed=4).figure(lambda w: share(hits, every, w)) for _ in range(2))
    assert first == second
    assert first["ci95"][0] < first["value"] < first["ci95"][1]


def test_pictures_of_one_patient_are_no_independent_evidence():
    hits = np.repeat(CHANCE.random(20) < 0.5, 10)
    every = np.ones(200, bool)

    def width(clusters: np.ndarray) -> float:
        low, high = Bootstrap(clusters, 400).figure(lambda w: share(hits, every, w))["ci95"]
        return high - low

    assert width(np.repeat(np.arange(20), 10)) > 2 * width(np.arange(200))


def test_a_paired_difference_is_narrower_than_two_intervals():
    chance = np.random.default_rng(0)
    truth = chance.random(80) < 0.5
    score = truth + chance.normal(0, 1, 80)
    other = score + chance.normal(0, 0.05, 80)
    boot = Bootstrap(np.array([f"p{i}" for i in range(80)]), 300)
    gap = boot.difference(lambda w: auroc(truth, score, w), lambda w: auroc(truth, other, w))
    alone = boot.figure(lambda w: auroc(truth, score, w))
    assert gap["ci95"][0] <= gap["value"] <= gap["ci95"][1]
    assert gap["ci95"][1] - gap["ci95"][0] < (alone["ci95"][1] - alone["ci95"][0]) / 4
    assert boot.difference(lambda w: None, lambda w: 1.0) == {"value": None, "ci95": [None, None]}
