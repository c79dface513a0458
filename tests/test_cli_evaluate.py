"""`cxrscreen evaluate` and `cxrscreen holdout`, as a person types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cxrscreen.cli import cli
from models import bundle
from models.errors import ModelsError


def run(*arguments: object) -> str:
    said = CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return said.output


def test_twice_the_same_bytes(marked, tmp_path):
    for name in ("one.json", "two.json"):
        said = run("evaluate", marked.bundle, marked.index, "--out", tmp_path / name, "--resamples", 30)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert "audit border only: auroc" in said and "within source auroc" in said
    figures = json.loads((tmp_path / "one.json").read_text())
    assert "source_probe" not in figures and len(figures["operating_points"]) == 5


def test_a_report_and_stated_prevalences(marked, tmp_path):
    said = run("evaluate", marked.bundle, marked.index, "--report", tmp_path / "r", "--prevalence", "0.05,0.5",
               "--resamples", 10)  # fmt: skip
    assert "report.html" in said
    figures = json.loads((tmp_path / "r" / "report.json").read_text())
    assert set(figures["operating_points"][0]["at_prevalence"]) == {"0.05", "0.5"}
    assert {"source_probe", "subclasses", "subclasses_tell", "relearned"} <= set(figures)


@pytest.mark.parametrize("given", ["2", "0", "x", "", "0.1,,0.2"])
def test_a_prevalence_that_cannot_be(marked, given):
    said = CliRunner().invoke(cli, ["evaluate", str(marked.bundle), str(marked.index), "--prevalence", given])
    assert said.exit_code == 2 and "shares between 0 and 1" in said.output


def test_each_source_is_left_out_in_turn(unmarked, tiny, tmp_path):
    said = run("holdout", unmarked.index, "--out", tmp_path / "h", "--recipe", "tiny", "--epochs", 2, "--resamples", 10)
    told = json.loads((tmp_path / "h" / "holdout.json").read_text())
    assert set(told) == {"a", "b"} and "Without a: auroc" in said
    for source, other in ("ab", "ba"):
        assert set(told[source]["learnt_from"]) == {other}
        assert told[source]["figures"]["n"] == sum(told[source]["pictures"].values()) == 54
        assert bundle.load(tmp_path / "h" / source).record["data"]["sources"][source] == 54


def test_a_class_of_one_source_is_said_plainly(unmarked, tiny, tmp_path):
    with unmarked.index.open() as file:
        rows = list(csv.reader(file))
    own = unmarked.index.with_name("confounded.csv")
    with own.open("w", newline="") as file:
        csv.writer(file).writerows(
            row if not i else [*row[:3], "a" if row[1] == "covid" or i % 2 else "b", *row[4:]]
            for i, row in enumerate(rows)
        )
    said = run("holdout", own, "--out", tmp_path / "h", "--recipe", "tiny", "--epochs", 2, "--resamples", 10)
    assert "Without a: covid only in a: without it there is nothing to learn it from." in said.replace("\n", " ")
    told = json.loads((tmp_path / "h" / "holdout.json").read_text())
    assert "figures" not in told["a"]
    assert told["b"]["figures"]["covid"]["auroc"]["value"] is None and "no covid" in told["b"]["undefined"]


def test_the_shipped_bundle_on_the_open_set(test_data, tmp_path):
    index, folder = test_data / "cxr" / "index.csv", Path(__file__).parent.parent / "models" / "bundles"
    shipped = sorted(folder.glob("*/bundle.json"))
    if not index.exists() or not shipped:
        pytest.skip("the open set or a shipped bundle is not there")
    try:
        bundle.load(shipped[-1].parent)
    except ModelsError as error:
        pytest.skip(f"the shipped bundle is of another time: {error}")
    run("evaluate", shipped[-1].parent, index, "--out", tmp_path / "r.json", "--resamples", 100)
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["n"] == 216
    assert figures["audits"]["border_only"]["covid"]["auroc"]["value"] < figures["covid"]["auroc"]["value"]
