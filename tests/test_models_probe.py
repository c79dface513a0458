"""Probes, operating points and the plan of leaving a source out, on numbers that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.data import Row
from models.errors import IndexInvalid
from models.reports.answers import Answers
from models.reports.holdout import leave_one_out, plan
from models.reports.operating import points
from models.reports.probe import reading, source_probe

CLASSES = ("covid", "normal", "pneumonia")


def rows(split: str, source_of, label_of, n: int = 80) -> tuple[Row, ...]:
    return tuple(Row(Path(f"{split}{i}"), f"{i}", label_of(i), f"{split}{i}", source_of(i), split) for i in range(n))


def answers(given: tuple[Row, ...], told: bool) -> Answers:
    chance = np.random.default_rng(len(given[0].split))
    features = chance.normal(0, 1, (len(given), 6))
    if told:
        features[:, 2] += [3.0 * (row.source == "b") for row in given]
    p = np.full((len(given), 3), 1 / 3)
    return Answers(given, p, p, None, features, chance.normal(0, 1, (len(given), 6)), np.zeros(len(given)))


@pytest.mark.parametrize("told", [True, False])
def test_a_source_in_the_features_is_found(told):
    def source(i):
        return "ab"[i % 2]

    def label(i):
        return "pneumonia" if i % 3 else "normal"

    train, test = answers(rows("train", source, label), told), answers(rows("test", source, label), told)
    found = source_probe(train, test, CLASSES, 50, 0)
    assert "no source" in found["covid"]["why_not"]
    area = found["pneumonia"]["features"]["test"]["auroc"]
    assert area["value"] > 0.9 if told else 0.25 < area["value"] < 0.75
    assert found["pneumonia"]["chance"] == 0.5
    assert 0.25 < found["pneumonia"]["thumbnails"]["test"]["auroc"]["value"] < 0.75
    assert (found["pneumonia"]["features"]["train_folds"]["auroc"]["value"] > 0.9) == told


def test_a_class_of_one_source_is_not_asked():
    train = answers(rows("train", lambda i: "ab"[i % 2], lambda i: "covid" if i % 2 else "normal"), True)
    found = source_probe(train, train, CLASSES, 20, 0)
    assert found["covid"]["why_not"].startswith("only b") and found["normal"]["why_not"].startswith("only a")
    assert found["covid"]["pictures"] == {"b": {"train": 40, "test": 40}}


def test_a_probe_of_one_class_reads_nothing():
    assert reading(np.zeros((4, 2)), np.zeros(4, bool), np.zeros((2, 2))) is None


def test_operating_points_follow_validation_and_bayes():
    score = np.array([0.9, 0.8, 0.4, 0.7, 0.3, 0.2, 0.1, 0.05])
    sick = np.array([True, True, True, False, False, False, False, False])
    patient = np.array([str(i) for i in range(8)])
    own, *chosen = points(score, sick, patient, 0.5, (score, sick), prevalences=(0.1,), resamples=20)
    assert own["target"] is None and own["threshold"] == 0.5
    sensitivity, specificity = own["sensitivity"]["value"], own["specificity"]["value"]
    assert (round(sensitivity, 4), specificity) == (0.6667, 0.8)
    ppv = sensitivity * 0.1 / (sensitivity * 0.1 + 0.2 * 0.9)
    npv = 0.8 * 0.9 / (0.8 * 0.9 + (1 - sensitivity) * 0.1)
    assert own["at_prevalence"]["0.1"]["ppv"]["value"] == pytest.approx(ppv, abs=1e-5)
    assert own["at_prevalence"]["0.1"]["npv"]["value"] == pytest.approx(npv, abs=1e-5)
    assert [one["target"] for one in chosen] == [0.8, 0.9, 0.95, 0.99]
    assert chosen[-1]["sensitivity"]["value"] == 1.0
    assert len(points(score, sick, patient, 0.5, None, resamples=5)) == 1


def test_what_no_other_source_holds_cannot_be_left_out():
    def made(split, n):
        return rows(
            split, lambda i: "ab"[i % 2], lambda i: "covid" if i % 2 else ("normal", "pneumonia")[i % 4 // 2], n
        )

    found = {one.source: one for one in plan([*made("train", 40), *made("val", 8), *made("test", 8)])}
    assert found["b"].why_not == "covid only in b: without it there is nothing to learn it from."
    assert found["a"].why_not == "normal and pneumonia only in a: without it there is nothing to learn it from."


def test_a_patient_of_both_sources_teaches_nothing_about_the_one_left_out():
    given = rows("train", lambda i: "ab"[i % 2], lambda i: CLASSES[i % 3], 30)
    shared = Row(Path("x"), "x", "covid", given[0].patient, "b", "train")
    left = next(one for one in plan([*given, shared]) if one.source == "a")
    assert shared not in left.learn and all(row.source == "b" for row in left.learn)


def test_one_source_is_an_error(tmp_path, tiny):
    index = tmp_path / "index.csv"
    (tmp_path / "a.png").write_bytes(b"")
    index.write_text("file,label,patient,source,split\na.png,covid,1,only,test\n")
    with pytest.raises(IndexInvalid, match="one source only"):
        leave_one_out(index, tmp_path / "out", tiny)
