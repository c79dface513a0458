"""`cxrscreen index`: from what people have to the INDEX that training reads; bad input is one line and status 2."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrscreen.cli import main
from models.data import read_index, require_trainable

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cxrscreen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], configure: object) -> Run:
    """Run the front door in this process; answers status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cxrscreen", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for place, label in enumerate(("covid", "normal", "pneumonia")):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(5):
            grey = np.random.default_rng(10 * place + number).integers(0, 256, (16, 16), dtype=np.uint8)
            picture = Image.fromarray(grey).resize((96, 96), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "set" / label / f"{number}.png")
    return tmp_path / "set"


def refused(outcome: tuple[int, str, str], *words: str) -> None:
    status, _, said = outcome
    assert status == 2, said
    lines = [line for line in said.strip().splitlines() if line.strip()]
    assert len(lines) == 1, said
    for word in words:
        assert word in said


def test_class_folders_become_an_index_that_trains(cxrscreen, folders, tmp_path):
    shutil.copy(folders / "covid" / "0.png", folders / "covid" / "same.png")
    target = tmp_path / "index.csv"
    status, said, _ = cxrscreen("index", folders, "--out", target)
    assert status == 0
    for words in (
        "16 pictures of 15 patients; format: folders",
        "patients are unknown for 16 pictures",
        "copies: 1 pairs of the same bytes, 0 that look the same",
        "2 patients became 1",
        f"Index: {target}",
    ):
        assert words in said
    assert next(line for line in said.splitlines() if line.startswith("set")).split() == ["set", "6", "5", "5", "16"]
    rows = list(csv.DictReader(target.open()))
    assert list(rows[0]) == ["file", "label", "patient", "source", "split"] and rows[0]["file"] == "set/covid/0.png"
    index = read_index(target)
    require_trainable(index)
    assert {row.name: row.split for row in index.rows} == {
        f"set/{row.name}": row.split for row in read_index(folders).rows
    }
    status, said, _ = cxrscreen("index", target, "--check")
    assert status == 0 and "The split is the source's own." in said


def test_check_ends_with_status_1_where_copies_cross(cxrscreen, folders, tmp_path):
    with Image.open(folders / "covid" / "0.png") as picture:
        picture.save(folders / "again.jpg", quality=70)
    path = folders / "index.csv"
    path.write_text(
        "file,label,patient,source,split,age\ncovid/0.png,covid,1,s,train,50\nagain.jpg,covid,2,s,test,\n"
        "normal/1.png,normal,3,s,test,17\n"
    )
    status, said, _ = cxrscreen("index", path, "--check")
    assert status == 1
    assert "covid/0.png (train, covid, patient 1) and again.jpg (test, covid, patient 2): " in said
    status, said, _ = cxrscreen("index", path, "--adults", "--split-seed", "4", "--out", tmp_path / "new.csv")
    assert status == 0 and "left out: 1, under 18 years" in said and "The split was made here." in said
    rows = list(csv.DictReader((tmp_path / "new.csv").open()))
    assert [(row["patient"], row["age"]) for row in rows] == [("1", "50"), ("1", "")]
    assert rows[0]["split"] == rows[1]["split"]


def test_the_open_set_has_no_copies_across_its_splits(cxrscreen, test_data):
    status, said, _ = cxrscreen("index", test_data / "cxr", "--check")
    assert status == 0 and "1075 pictures of 712 patients; format: csv" in said
    assert "copies: 0 pairs of the same bytes, 2 that look the same" in said and "in two splits" not in said


def test_bad_input_is_one_line_that_names_the_first_offender(cxrscreen, folders, tmp_path):
    out = ("--out", tmp_path / "index.csv")
    head = "file,label,patient,source,split\n"
    text = folders / "bad.csv"
    for content, words in (
        (head, "has no rows"),
        ("file,label\na,b\n", "has no column patient, source"),
        (head + "covid/0.png,flu,1,s,\n", "unknown label 'flu'"),
        (head + "covid/0.png,covid,1,s,\ncovid/x.png,covid,1,s,\n", "the file covid/x.png does not exist"),
        (head + "covid/0.png,covid,1,s,train\ncovid/0.png,covid,1,s,test\n", "covid/0.png stands in splits train and"),
        (head + "covid/0.png,covid,1,s,train\ncovid/1.png,covid,1,s,test\n", "patient 1 is in two splits"),
        (head + "bad.csv,covid,1,s,train\n", "The picture bad.csv cannot be used"),
    ):
        text.write_text(content)
        refused(cxrscreen("index", text, *out), words)
        refused(cxrscreen("index", text, "--check"), words)
        if "cannot be used" not in words:  # a training asks for its classes first
            refused(cxrscreen("train", text, "--out", tmp_path / "bundle"), words)
        assert not (tmp_path / "index.csv").exists()
    text.unlink()
    (folders / "covid" / "bad.png").write_text("no picture")
    refused(cxrscreen("index", folders, *out), "The picture covid/bad.png cannot be used")
    refused(cxrscreen("train", folders, "--out", tmp_path / "bundle"), "The picture covid/bad.png cannot be used")
    status, said, _ = cxrscreen("index", folders, *out, "--partial")
    assert status == 0 and "left out: 1, the picture cannot be used" in said and "covid/bad.png" in said


def test_a_class_of_one_patient_is_told_by_index_and_refused_by_train(cxrscreen, folders, tmp_path):
    shutil.rmtree(folders / "covid")
    (folders / "covid" / "p1").mkdir(parents=True)
    shutil.copy(folders / "normal" / "0.png", folders / "covid" / "p1" / "a.png")
    (folders / "normal" / "0.png").unlink()
    status, said, _ = cxrscreen("index", folders, "--out", tmp_path / "index.csv")
    assert status == 0 and "serves for evaluation, not for training" in said
    refused(cxrscreen("train", folders, "--out", tmp_path / "bundle"), "class covid has one patient (p1)")


def test_requests_that_make_no_sense(cxrscreen, folders, tmp_path):
    refused(cxrscreen("index", folders), "--out FILE")
    refused(cxrscreen("index", folders, "--out", tmp_path / "no" / "index.csv"), "does not exist")
    (tmp_path / "empty").mkdir()
    refused(cxrscreen("index", tmp_path / "empty", "--check"), "no index is in this folder")
    path = folders / "index.csv"
    path.write_text("file,label,patient,source\ncovid/0.png,covid,1,s\n")
    refused(cxrscreen("index", path, "--out", path), "is the source itself")
    assert cxrscreen("index", tmp_path / "gone", "--check")[0] == 2
