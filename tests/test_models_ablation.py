"""Decomposed against whole: the paired comparison, the shared first stage, and draws of few and uneven patients."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_fixtures import recipe_of_seconds

from models.data import CLASSES, Row
from models.errors import OptionsInvalid, TrainingFailed
from models.loading import Loaded
from models.studies import ablation, curves, study
from models.studies.book import Book
from models.studies.measures import Measures, Scored
from models.studies.study import Data, StudyOptions, run_entries
from models.studies.table import differences, groups_of, lines, sentence

SEEDS = StudyOptions(recipe="quick", seeds=(0,), resamples=40, threads=1)


@pytest.fixture(autouse=True)
def quick():
    with recipe_of_seconds("quick", 32, transfer_epochs=3):
        yield


def made_rows(n: int, split: str) -> tuple[Row, ...]:
    return tuple(
        Row(Path(f"{split}{i}"), f"{split}{i}", CLASSES[i % 3], f"{split}-p{i // 6}-{i % 3}", "s", split)
        for i in range(n)
    )


def loaded(n: int, split: str, seed: int) -> Loaded:
    """COVID has two opposite looks, a bar at the top or one at the bottom; each other class has one look."""
    chance = np.random.default_rng(seed)
    inputs = chance.integers(40, 110, size=(n, 1, 32, 32), dtype=np.uint8)
    for i in range(n):
        kind, turn = i % 3, (i // 3) % 2
        if kind == 0:
            inputs[i, 0, slice(2, 9) if turn == 0 else slice(23, 30), 3:29] = 235
        elif kind == 1:
            inputs[i, 0, 12:20, 3:29] = 235
    labels = torch.tensor([i % 3 for i in range(n)])
    return Loaded(made_rows(n, split), torch.from_numpy(inputs), labels, tuple(f"{split}{i}" for i in range(n)))


@pytest.fixture(scope="module")
def data() -> Data:
    return Data(loaded(48, "train", 0), loaded(12, "val", 1), loaded(36, "test", 2))


def run(entries, data, folder, options=SEEDS) -> tuple[Book, list[str]]:
    book, told = Book(folder, "ablation"), []
    run_entries(entries, data, book, options, lambda p: told.append(p.stage), lambda done, of, name: None)
    return book, told


def scored(n: int, seed: int) -> Scored:
    return Scored(np.random.default_rng(seed).dirichlet((1, 1, 1), n), 0.4)


def test_a_model_against_itself_differs_by_exactly_nothing():
    measures = Measures(made_rows(60, "test"), 100)
    pairs = [(scored(60, seed), scored(60, seed)) for seed in (1, 2, 3)]
    for name in Measures.NAMES:
        told = measures.difference(name, pairs)
        assert told == {"value": 0.0, "ci95": [0.0, 0.0], "seeds": [0.0, 0.0, 0.0], "p": 1.0}


def test_both_sides_see_the_same_patients_so_a_small_gap_shows():
    """A constant gap has no spread on the same patients, wide as each side's own interval is."""
    rows = made_rows(90, "test")
    truth = np.array([CLASSES.index(row.label) for row in rows])
    chance = np.random.default_rng(0)
    weaker = np.eye(3)[np.where(chance.random(90) < 0.6, truth, (truth + 1) % 3)]
    better = weaker.copy()
    wrong = np.flatnonzero(weaker.argmax(axis=1) != truth)[:12]
    better[wrong] = np.eye(3)[truth[wrong]]
    measures = Measures(rows, 300)
    alone = [measures.mean("accuracy", [Scored(p, 0.5)])["ci95"] for p in (weaker, better)]
    assert alone[0][1] > alone[1][0]  # the intervals overlap
    told = measures.difference("accuracy", [(Scored(better, 0.5), Scored(weaker, 0.5))])
    assert told["value"] == pytest.approx(12 / 90, abs=1e-6) and told["ci95"][0] > 0 and told["p"] == 0


def test_the_difference_is_the_mean_over_seeds():
    measures = Measures(made_rows(60, "test"), 50)
    pairs = [(scored(60, seed), scored(60, seed + 10)) for seed in (1, 2)]
    each = [measures.difference("auroc", [pair])["value"] for pair in pairs]
    both = measures.difference("auroc", pairs)
    assert both["seeds"] == each and both["value"] == pytest.approx(sum(each) / 2, abs=1e-6)


def _gap(value: float, p: float, seeds: list[float]) -> dict:
    return {"value": value, "ci95": [value - 0.01, value + 0.01], "p": p, "seeds": seeds}


def test_one_sentence_answers_and_many_comparisons_need_more_than_one_in_twenty():
    none = _gap(0.001, 0.9, [0.001, 0.001])
    row = {"first": "k = 2", "second": "k = 1", "balanced_accuracy": none, "within_source_auroc": none}
    by_chance = row | {"auroc": _gap(0.03, 0.03, [0.03, 0.03])}
    assert sentence([by_chance]).startswith("No difference outside the noise among 3 comparisons; the largest is k = 2")
    found = row | {"auroc": _gap(0.03, 0.002, [0.02, 0.04])}
    assert sentence([found]).startswith(
        "Outside the noise among 3 comparisons: k = 2 against k = 1: COVID AUROC +0.030"
    )
    torn = row | {"auroc": _gap(0.03, 0.002, [-0.02, 0.08])}
    assert sentence([torn]).startswith("No difference")


def test_a_class_of_two_looks_is_found_and_only_the_second_stage_differs(data, tmp_path):
    book, told = run(ablation.plan(SEEDS, ("auto", 2)), data, tmp_path / "out")
    assert told.count("backbone") == 6  # once, though three trainings began with it
    assert [row["stage_1_reused"] for row in book.rows.values()] == [False, True, True]
    found = book.rows["k = auto, seed 0"]
    assert found["k"]["covid"] == 2
    assert {found["subclasses"]["covid-1"], found["subclasses"]["covid-2"]} == {8}
    assert book.rows["k = 1, seed 0"]["k"] == {"covid": 1, "normal": 1, "pneumonia": 1}
    measures = Measures(data.test.rows, 40)
    groups = groups_of(book)
    table = lines(book, measures, groups)
    assert [line["group"] for line in table] == ["k = 1", "k = auto", "k = 2"]
    assert table[2]["accuracy"]["value"] > 0.9
    compared = differences(book, measures, ablation.pairs(groups))
    assert [(one["first"], one["second"]) for one in compared] == [("k = auto", "k = 1"), ("k = 2", "k = 1")]


def test_a_finished_row_is_not_trained_again_and_other_settings_are_refused(data, tmp_path):
    plan = ablation.plan(replace(SEEDS, epochs=2), (2,))
    book, _ = run(plan[:1], data, tmp_path / "out")
    before = book.rows["k = 1, seed 0"]
    again, told = run(plan, data, tmp_path / "out")
    assert "backbone" not in told and told.count("transfer") == 1
    assert again.rows["k = 1, seed 0"] == before
    assert run(plan, data, tmp_path / "out")[1] == []
    longer = ablation.plan(replace(SEEDS, epochs=3), (2,))
    with pytest.raises(OptionsInvalid, match=r"'k = 1, seed 0' with other settings \(recipe.backbone_stage\)"):
        run(longer, data, tmp_path / "out")


def test_what_cannot_be_is_said_before_anything_is_trained(data, tmp_path):
    with pytest.raises(OptionsInvalid, match="k = 17 is larger than class covid, which has 16"):
        run(ablation.plan(SEEDS, (2, 17)), data, tmp_path / "out")
    assert not (tmp_path / "out" / "stages").exists()
    with pytest.raises(OptionsInvalid, match="with another k"):
        ablation.plan(SEEDS, (1,))


def test_a_loss_that_is_no_number_names_the_row(data, tmp_path):
    wild = replace(SEEDS, lr=1e30)
    with pytest.raises(TrainingFailed, match=r"k = 1, seed 0: The .*loss is no number"):
        run(ablation.plan(wild, (2,)), data, tmp_path / "out", wild)
    assert not any((tmp_path / "out" / "stages").iterdir())


def test_shares_of_the_patients_are_whole_and_lie_inside_one_another():
    rows = made_rows(240, "train")
    drawn = [set(curves.share_of(rows, share, seed=1)) for share in (10, 25, 50, 100)]
    assert all(less < more for less, more in pairwise(drawn))
    assert drawn[3] == set(range(240))
    for chosen, share in zip(drawn, (0.1, 0.25, 0.5, 1), strict=True):
        patients = {rows[i].patient for i in chosen}
        assert {i for i, row in enumerate(rows) if row.patient in patients} == chosen
        assert Counter(rows[i].label for i in chosen) == dict.fromkeys(CLASSES, 80 * share)
    assert set(curves.share_of(rows, 10, seed=2)) != drawn[0]


def test_imbalance_changes_the_balance_and_not_the_number():
    rows = made_rows(600, "train")
    sizes = []
    for ratio in (1, 5, 20):
        chosen = curves.ratio_of(rows, ratio, seed=0)
        count = Counter(rows[i].label for i in chosen)
        rest = count["normal"] + count["pneumonia"]
        assert rest / count["covid"] == pytest.approx(ratio, rel=0.15)
        assert abs(count["normal"] - count["pneumonia"]) <= 2
        sizes.append(len(chosen))
    assert max(sizes) - min(sizes) <= 6


def test_few_pictures_get_more_epochs_up_to_a_limit(data):
    options = replace(SEEDS, epochs=4)
    entries = curves.curve_plan(options, data.learn.rows, (10, 50, 100), 2)
    epochs = {entry.group: entry.options["epochs"] for entry in entries}
    assert epochs["100 %, k = 1"] == 4 and epochs["50 %, k = 2"] == 8 and epochs["10 %, k = 1"] == 16
    names = [entry.group for entry in entries]
    assert ("10 %, k = 2", "10 %, k = 1") in curves.pairs(names) and len(curves.pairs(names)) == 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda rows: curves.curve_plan(SEEDS, rows, (0,), 2), "between 1 and 100 per cent"),
        (lambda rows: curves.curve_plan(SEEDS, rows, (50,), 1), "other than 1"),
        (lambda rows: curves.imbalance_plan(SEEDS, rows, (0,), 2), "N from 1 on"),
    ],
)
def test_draws_that_cannot_be(data, call, words):
    with pytest.raises(OptionsInvalid, match=words):
        call(data.learn.rows)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OptionsInvalid, match="something else than a study"):
        Book(tmp_path, "ablation")
    other = tmp_path / "curve"
    Book(other, "curve").write()
    with pytest.raises(OptionsInvalid, match="holds the study 'curve'"):
        Book(other, "ablation")
    (other / "results.json").write_text("{}")
    with pytest.raises(OptionsInvalid, match="no record of a study"):
        Book(other, "curve")


def test_seeds_are_checked(data, tmp_path):
    with pytest.raises(OptionsInvalid, match="one at least and each once"):
        study.open_data(tmp_path, replace(SEEDS, seeds=(1, 1)))
