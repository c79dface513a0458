"""`cxrscreen study`: tables from an index of phantoms, going on where it was, and bad input in one line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cxrscreen.cli import cli, main
from cxrscreen.imaging import phantoms

SHORT = ("--recipe", "phantom", "--size", "64", "--epochs", "2", "--seeds", "0", "--resamples", "20", "--threads", "1")


def test_every_recipe_can_be_asked_for() -> None:
    """Asked of a fresh interpreter: fixtures of other tests add recipes of their own to this one's."""
    code = (
        "from cxrscreen.cli import learn\nfrom models.learning import recipes\n"
        "print(sorted(set(learn.RECIPES) ^ set(recipes.RECIPES)), len(recipes.RECIPES))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    told, count = done.stdout.rsplit(maxsplit=1)
    assert told == "[]" and int(count) > 3


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    return phantoms.write_index(tmp_path_factory.mktemp("phantoms"), per_class=14, side=96)


def study(*words: object) -> str:
    done = CliRunner().invoke(cli, ["study", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def refused(monkeypatch, capsys):
    """The one line that a person gets, with status 2."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["cxrscreen", "study", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("cxrscreen:", "Error:"))]
        assert end.value.code == 2 and len(told) == 1, told
        return told[0]

    return run


def test_baselines_stand_side_by_side_and_go_on_where_they_were(index, tmp_path):
    out = tmp_path / "out"
    study("baselines", index, "--out", out, *SHORT, "--only", "texture,plain")
    first = json.loads((out / "results.json").read_text())
    assert list(first["rows"]) == ["texture, seed 0", "plain, seed 0"]
    shown = study("baselines", index, "--out", out, *SHORT, "--only", "plain,deep,ours")
    record = json.loads((out / "results.json").read_text())
    assert {name: record["rows"][name] for name in first["rows"]} == first["rows"]
    assert record["rows"]["ours, seed 0"]["same_as"] == "deep, seed 0"
    assert record["rows"]["deep, seed 0"]["stage_1_reused"] is True
    names = ["texture", "plain", "deep", "ours"]
    assert [line["group"] for line in record["table"]] == names
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == names
    assert float(rows[1]["auroc"]) == record["rows"]["plain, seed 0"]["report"]["covid"]["auroc"]["value"]
    text = (out / "README.md").read_text()
    assert "| texture (GLCM and LBP features" in text and "6 test pictures" in text
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "COVID AUROC" in shown and "not a medical device" in shown


@pytest.mark.parametrize(
    ("name", "options", "groups"),
    [
        ("ablation", ("--k", "2"), ["k = 1", "k = 2"]),
        ("curve", ("--k", "2", "--shares", "100"), ["100 %, k = 1", "100 %, k = 2"]),
        ("imbalance", ("--k", "2", "--ratios", "2"), ["1:2, k = 1", "1:2, k = 2"]),
    ],
)
def test_decomposed_against_whole(index, tmp_path, name, options, groups):
    shown = study(name, index, "--out", tmp_path / "out", *SHORT, *options)
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [line["group"] for line in record["table"]] == groups
    assert [(one["first"], one["second"]) for one in record["differences"]] == [(groups[1], groups[0])]
    assert record["answer"].replace("\n", " ") in shown.replace("\n", " ")
    assert (tmp_path / "out" / "plot.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ablation", "--k", "11"), "k = 11 is larger than class covid, which has 10"),
        (("ablation", "--k", "2", "--lr", "1e30"), "loss is no number any more"),
        (("ablation", "--k", "0"), "no list of such values"),
        (("ablation", "--k", "1"), "with another k"),
        (("ablation", "--seeds", "a,b"), "no list of such values"),
        (("ablation", "--seeds", ""), "one at least and each once"),
        (("baselines", "--only", "vgg"), "There is no baseline 'vgg'"),
        (("curve", "--shares", "0"), "between 1 and 100 per cent"),
        (("imbalance", "--k", "1"), "other than 1"),
        (("curve", "--k", "2,3"), "no single k"),
        (("imbalance", "--k", ""), "no single k"),
    ],
)
def test_bad_input_is_one_line(index, tmp_path, refused, words, told):
    assert told in refused(words[0], index, "--out", tmp_path / "out", *SHORT, *words[1:])
