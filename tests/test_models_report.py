"""The report: whole in one file, the same each time, and with every drawing beside it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from models.evaluation import examine
from models.reports import gallery, report

DRAWN = {"roc", "precision_recall", "reliability_answer", "reliability_score", "confusion", "scores", "audits", "masks"}


@pytest.fixture(scope="module")
def examined(marked):
    return examine(marked.bundle, marked.index, resamples=40, training=True)


@pytest.fixture(scope="module")
def page(examined, tmp_path_factory):
    return report.write(examined, tmp_path_factory.mktemp("report") / "new")


def test_the_folder_holds_page_figures_and_drawings(examined, page):
    names = {path.stem for path in page.parent.glob("*.png")}
    assert names == DRAWN | {"map", "gallery"}
    for name in names:
        with Image.open(page.parent / f"{name}.png") as drawing:
            assert min(drawing.size) > 150 and len(np.unique(np.asarray(drawing))) > 10
    assert json.loads((page.parent / "report.json").read_text()) == examined.figures


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    assert not re.search(r"""(?:src|srcset|href)=["'](?!data:)""", text) and "<script" not in text
    assert text.count("data:image/png;base64,") == 2 * (len(DRAWN) + 2)
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert "phantoms" in text  # a model of phantoms says so


def test_the_page_says_the_figures(examined, page):
    text = page.read_text()
    f = examined.figures
    for figure in (f["within_source_auroc"], f["audits"]["border_only"]["covid"]["auroc"], f["covid"]["sensitivity"]):
        assert report._figure(figure) in text
    for one in f["subclasses"]:
        assert one["name"] in text


def test_twice_the_same_bytes(examined, page, tmp_path):
    again = report.write(examined, tmp_path)
    for path in sorted(page.parent.iterdir()):
        assert (again.parent / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_report_without_training_pictures_leaves_out_what_needs_them(marked, tmp_path):
    alone = examine(marked.bundle, marked.index, resamples=10)
    text = report.write(alone, tmp_path).read_text()
    assert not (tmp_path / "map.png").exists() and "untangled" not in text


@pytest.mark.parametrize("how", gallery.MAPS)
def test_a_map_is_the_same_each_time_and_parts_what_is_apart(how):
    chance = np.random.default_rng(0)
    features = np.concatenate([chance.normal(0, 1, (30, 12)), chance.normal(9, 1, (30, 12))])
    plane = gallery.flatten(features, how)
    assert plane.shape == (60, 2) and (plane == gallery.flatten(features, how)).all()
    gap = np.linalg.norm(plane[:30].mean(axis=0) - plane[30:].mean(axis=0))
    assert gap > 2 * plane[:30].std()


def test_subclasses_are_counted_once(examined):
    f = examined.figures
    assert sum(one["test"]["n"] for one in f["subclasses"]) == f["n"]
    assert sum(one["train"]["n"] for one in f["subclasses"]) == len(examined.train["whole"].rows)
    for one in f["subclasses"]:
        assert sum(one["test"]["answered"].values()) == one["test"]["n"] == sum(one["test"]["sources"].values())
    assert set(f["subclasses_tell"]) == {"covid", "normal", "pneumonia"}
    for told in f["subclasses_tell"].values():
        assert set(told) == {"source", "view", "sex"} and told["sex"] is None
