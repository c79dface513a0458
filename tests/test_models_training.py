"""From an index of phantoms to a bundle that screens, and what evaluation says of it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_fixtures import recipe_of_seconds

from cxrscreen import imaging
from cxrscreen.imaging import phantoms
from models import bundle
from models.data import read_index
from models.errors import IndexInvalid, OptionsInvalid, TrainingFailed
from models.evaluation import evaluate
from models.loading import pictures
from models.training import Progress, TrainOptions, train

SHORT = TrainOptions(recipe="short", phantom=True)


@pytest.fixture(scope="module", autouse=True)
def short():
    """What the phantoms teach in it is enough to be told from chance."""
    with recipe_of_seconds("short", 64):
        yield


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_index(folder, per_class=24, seed=0, side=128)
    return folder / "index.csv"


@pytest.fixture(scope="module")
def trained(index, tmp_path_factory) -> tuple[Path, list[Progress]]:
    told: list[Progress] = []
    return train(index, tmp_path_factory.mktemp("out") / "b", SHORT, told.append), told


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_bundle_comes_out_and_nothing_else(trained):
    out, told = trained
    assert sorted(content(out)) == ["bundle.json", "log.csv", "model.safetensors"]
    record = json.loads((out / "bundle.json").read_text())
    assert record["format"] == bundle.FORMAT and record["phantom"] is True
    assert record["k"] == {"covid": 2, "normal": 2, "pneumonia": 2}
    assert sum(one["n"] for one in record["subclasses"]) == sum(record["data"]["splits"]["train"].values())
    assert record["preprocessing"] == imaging.PREPROCESSING
    assert record["data"]["n"] == 72
    assert list(dict.fromkeys(p.stage for p in told)) == ["images", "backbone", "decompose", "transfer", "calibrate"]
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["backbone"] * 6 + ["transfer"] * 2


def test_no_training_or_validation_picture_is_called_unlike_training(trained, index):
    screener = bundle.load(trained[0])
    rows = read_index(index, 0).split("train", "val")
    answers = screener.predict([pixels for _, pixels in pictures(rows)])
    assert not any(screener.unlike(d) for d in answers.distance)
    assert all(answers.heat)


def test_the_threshold_reaches_its_sensitivity_on_validation(trained, index):
    screener = bundle.load(trained[0])
    rows = read_index(index, 0).split("val")
    score = screener.predict([pixels for _, pixels in pictures(rows)]).score
    sick = np.array([row.label == "covid" for row in rows])
    assert (score[sick] >= screener.record["threshold"]).mean() >= 0.95
    figures = screener.record["figures"]["val"]
    assert figures["n"] == len(rows)
    assert figures["specificity"] == pytest.approx((score[~sick] < screener.record["threshold"]).mean(), abs=1e-3)


def test_training_twice_gives_the_same_bytes(trained, index, tmp_path):
    again = train(index, tmp_path / "elsewhere", SHORT)
    assert content(again) == content(trained[0])


def test_an_interrupted_training_goes_on_to_the_same_bundle(trained, index, tmp_path):
    class Interrupt(Exception):
        pass

    def at(stage: str, epoch: int):
        def interrupt(p: Progress) -> None:
            if (p.stage, p.epoch) == (stage, epoch):
                raise Interrupt

        return interrupt

    out, told = tmp_path / "b", []
    for stage, epoch in (("backbone", 6), ("transfer", 1)):
        with pytest.raises(Interrupt):
            train(index, out, SHORT, at(stage, epoch))
        assert not (out / "bundle.json").exists()
    with pytest.raises(OptionsInvalid, match="unfinished training with other settings"):
        train(index, out, replace(SHORT, k=1))
    train(index, out, SHORT, told.append)
    assert not [p for p in told if p.stage == "backbone"]
    assert content(out) == content(trained[0])


def test_out_of_another_kind_is_left_alone(index, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OptionsInvalid, match="holds something else"):
        train(index, tmp_path, SHORT)
    with pytest.raises(OptionsInvalid, match="is a file"):
        train(index, tmp_path / "letter.txt", SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_training_that_fails_leaves_the_old_bundle_whole(trained, index, tmp_path):
    out = tmp_path / "b"
    out.mkdir()
    for name, data in content(trained[0]).items():
        (out / name).write_bytes(data)
    with pytest.raises(TrainingFailed, match="no number any more"):
        train(index, out, replace(SHORT, lr=1e30))
    with pytest.raises(OptionsInvalid, match="k = 99 is larger than class"):
        train(index, out, replace(SHORT, k=99))
    assert content(out) == content(trained[0])


def test_a_bad_index_leaves_nothing_behind(index, tmp_path):
    bad = tmp_path / "index.csv"
    bad.write_text("file,label,patient\n")
    with pytest.raises(IndexInvalid, match="has no column source"):
        train(bad, tmp_path / "out", SHORT)
    assert not (tmp_path / "out").exists()


def test_a_bundle_starts_another_training(trained, index, tmp_path):
    options = replace(SHORT, weights=trained[0] / "model.safetensors", tuning="shallow", epochs=2)
    out = train(index, tmp_path / "b", options)
    old, new = (bundle.load(folder).network.body.state_dict() for folder in (trained[0], out))
    assert all((old[name] == new[name]).all() for name in old if not name.startswith("fc"))
    assert not np.array_equal(old["fc.weight"], new["fc.weight"])
    assert json.loads((out / "bundle.json").read_text())["recipe"]["weights"] == "model.safetensors"


def test_evaluate_prints_every_figure_with_its_interval_and_twice_the_same(trained, index):
    first, second = (evaluate(trained[0], index, "test", resamples=50) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)
    assert first["n"] == sum(sum(row) for row in first["confusion"])
    assert set(first["covid"]) == {"sensitivity", "specificity", "auroc", "ppv", "npv"}
    assert set(first["covid_vs_normal"]) == {"accuracy", "sensitivity", "specificity", "auroc"}
    figures = [first[name] for name in ("accuracy", "balanced_accuracy", "ece", "brier", "within_source_auroc")]
    for figure in [*figures, *first["covid"].values(), *first["covid_vs_normal"].values()]:
        assert set(figure) == {"value", "ci95"} and len(figure["ci95"]) == 2
    assert first["covid"]["auroc"]["value"] > 0.5
    assert sum(source["n"] for source in first["by_source"].values()) == first["n"]


def test_a_made_split_is_made_again_for_evaluation(index, tmp_path):
    with index.open() as file:
        rows = [row[:4] for row in csv.reader(file)]
    bare = index.with_name("bare.csv")
    with bare.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    out = train(bare, tmp_path / "b", replace(SHORT, epochs=2, seed=6))
    record = json.loads((out / "bundle.json").read_text())
    assert record["data"]["split_seed"] == 6
    tested = evaluate(out, bare, "test", resamples=5)
    assert tested["n"] == sum(record["data"]["splits"]["test"].values())
    assert [sum(row) for row in tested["confusion"]] == list(record["data"]["splits"]["test"].values())


def test_an_unknown_split_is_named(trained, index):
    with pytest.raises(OptionsInvalid, match="no split 'holdout'"):
        evaluate(trained[0], index, "holdout")


def test_a_threshold_may_come_from_folds_over_training_and_validation(index, tmp_path):
    told = []
    options = replace(SHORT, folds=3, epochs=3)
    record = json.loads((train(index, tmp_path / "a", options, told.append) / "bundle.json").read_text())
    stages = {one.stage for one in told}
    assert {f"transfer, fold {number}" for number in (1, 2, 3)} <= stages
    cv = record["figures"]["cv"]
    rows = read_index(index).split("train", "val")
    assert cv["n"] == len(rows) and cv["folds"] == 3 and cv["sensitivity"] >= 0.95
    plain = train(index, tmp_path / "b", replace(options, folds=0))
    other = json.loads((plain / "bundle.json").read_text())
    assert record["weights"] == other["weights"] and record["temperature"] == other["temperature"]
    assert "cv" not in other["figures"]
    told = evaluate(tmp_path / "a", index, "val", resamples=20)["covid"]  # at the threshold that the bundle carries
    assert record["figures"]["val"]["sensitivity"] == pytest.approx(told["sensitivity"]["value"], abs=1e-3)
    assert record["figures"]["val"]["specificity"] == pytest.approx(told["specificity"]["value"], abs=1e-3)


def test_more_folds_than_patients_are_refused(index, tmp_path):
    with pytest.raises(OptionsInvalid, match="1000 folds cannot be made: class covid has"):
        train(index, tmp_path / "a", replace(SHORT, folds=1000, epochs=2))
