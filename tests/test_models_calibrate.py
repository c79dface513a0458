"""Temperature and threshold, chosen on validation."""

from __future__ import annotations

import numpy as np

from models.compose import Composition
from models.learning.calibrate import fit_temperature, fit_threshold, softmax

TWO = Composition(("covid", "normal"), ("covid-1", "covid-2", "normal-1"), (0, 0, 1))


def test_overconfident_logits_are_cooled_and_honest_ones_left():
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 1.5, size=(4000, 3))
    p = TWO.probabilities(softmax(logits))
    truth = (chance.random(4000) > p[:, 0]).astype(int)
    assert abs(fit_temperature(logits, truth, TWO) - 1) < 0.1
    assert abs(fit_temperature(logits * 3, truth, TWO) - 3) < 0.3


def test_the_threshold_reaches_the_sensitivity_and_no_more():
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.65, 0.3, 0.1])
    positive = np.array([1, 1, 1, 1, 1, 0, 0, 0], dtype=bool)
    for wanted, flagged in ((1.0, 5), (0.8, 4), (0.79, 4), (0.6, 3)):
        threshold = fit_threshold(score, positive, wanted)
        assert (score[positive] >= threshold).sum() == flagged
        assert threshold not in score


def test_softmax_of_large_logits_is_finite():
    assert np.isfinite(softmax(np.array([[1e4, -1e4, 0.0]]))).all()
