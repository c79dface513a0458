"""ROC and reliability from counts agree with scikit-learn on the scores themselves."""

from __future__ import annotations

import random

import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score, roc_curve

from cxrscreen import curves, scores
from cxrscreen.scores import STEPS, Tally
from cxrscreen.tables import Verdict


def tally_of(pairs: list[tuple[float, bool]]) -> Tally:
    counts: dict[Verdict | None, dict[int, int]] = {}
    for score, ill in pairs:
        held = counts.setdefault(Verdict.CONFIRMED if ill else Verdict.DISMISSED, {})
        held[int(score * STEPS)] = held.get(int(score * STEPS), 0) + 1
    return Tally(counts)


@pytest.fixture
def pairs() -> list[tuple[float, bool]]:
    """Scores in thousandths, so that counts lose nothing; many are equal."""
    chance = random.Random(5)
    made = []
    for _ in range(400):
        ill = chance.random() < 0.3
        made.append((int((chance.betavariate(4, 2) if ill else chance.betavariate(2, 4)) * 100) / 100, ill))
    return [*made, (1.0, True), (0.0, False)]


def test_the_roc_is_scikit_learns(pairs: list[tuple[float, bool]]) -> None:
    found = curves.roc(tally_of(pairs))
    assert found
    truth, given = [ill for _, ill in pairs], [score for score, _ in pairs]
    assert found.area == pytest.approx(roc_auc_score(truth, given))
    across, up, _ = roc_curve(truth, given, drop_intermediate=False)
    assert [x for x, _ in found.points] == pytest.approx(list(across))
    assert [y for _, y in found.points] == pytest.approx(list(up))
    assert found.ci95[0] < found.area < found.ci95[1] <= 1


def test_hanley_and_mcneil_s_own_example() -> None:
    """Their table: an area of 0.893 over 51 ill and 58 well has a standard error of 0.032."""
    low, high = curves._hanley(0.893, 51, 58)
    assert (high - 0.893) / 1.959964 == pytest.approx(0.032, abs=0.001)
    assert low == pytest.approx(0.893 - 1.959964 * 0.032, abs=0.003)


def test_the_reliability_is_scikit_learns(pairs: list[tuple[float, bool]]) -> None:
    bins = [one for one in curves.reliability(tally_of(pairs)) if one.studies]
    truth, given = [ill for _, ill in pairs], [min(score + 0.0005, 1) for score, _ in pairs]
    share, mean = calibration_curve(truth, given, n_bins=10)
    assert [one.share["value"] for one in bins] == pytest.approx(list(share))
    assert [one.mean for one in bins] == pytest.approx(list(mean))
    assert sum(one.studies for one in bins) == len(pairs)


def test_nothing_reviewed_has_no_curve() -> None:
    assert curves.roc(Tally({None: {5: 3}})) is None
    assert curves.roc(tally_of([(0.4, True)])) is None
    assert all(one.mean is None and one.share["value"] is None for one in curves.reliability(Tally({})))


def test_bars_hold_every_study(pairs: list[tuple[float, bool]]) -> None:
    told = tally_of(pairs)
    assert sum(scores.bars(told, list(Verdict), 20)) == len(pairs)
    assert scores.bars(told, [Verdict.CONFIRMED], 20)[-1] >= 1
