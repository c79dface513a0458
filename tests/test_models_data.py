"""The INDEX of a data set: read, split, and refused in one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data import CLASSES, Row, assign_splits, read_index, require_trainable
from models.errors import IndexInvalid

HEAD = "file,label,patient,source,split\n"


def write(folder: Path, text: str, files: tuple[str, ...] = ("a.png", "b.png", "c.png")) -> Path:
    for name in files:
        (folder / name).write_bytes(name.encode())
    path = folder / "index.csv"
    path.write_text(text)
    return path


def draw(folder: Path, names: tuple[str, ...]) -> None:
    """A picture of noise for each name: the search for copies, which precedes a made split, has to read them."""
    for seed, name in enumerate(names):
        grey = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(grey).save(folder / name)


def line(path: Path) -> str:
    with pytest.raises(IndexInvalid) as caught:
        require_trainable(read_index(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_open_set_reads_as_its_readme_says(test_data):
    index = read_index(test_data / "cxr" / "index.csv")
    require_trainable(index)
    assert len(index.rows) == 1075 and index.split_seed is None
    assert index.counts() == {
        "train": {"covid": 165, "normal": 273, "pneumonia": 312},
        "val": {"covid": 24, "normal": 40, "pneumonia": 45},
        "test": {"covid": 47, "normal": 79, "pneumonia": 90},
    }
    assert Counter(row.source for row in index.rows) == {"ieee8023": 299, "nih": 776}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,class,patient\n", "has no column file, label, source; its columns are: path, class, patient"),
        ("", "has no column file, label, patient, source; its columns are: none"),
        (HEAD, "has no rows"),
        (HEAD + "a.png,flu,1,s,train\n", "line 2: unknown label 'flu'; known are covid, normal, pneumonia"),
        (HEAD + "a.png,covid,1,s,dev\n", "line 2: unknown split 'dev'"),
        (HEAD + "a.png,covid,1,s,train\nb.png,normal,,s,train\n", "line 3: the patient is empty"),
        (HEAD + ",covid,1,s,train\n", "line 2: the file is empty"),
        (HEAD + "a.png,covid\n", "line 2: the patient is empty"),
        (HEAD + "x.png,covid,1,s,train\ny.png,covid,1,s,train\n", "x.png does not exist (and 1 more)"),
        (HEAD + "a.png,covid,1,s,train\nb.png,normal,2,s,\n", "1 of 2 rows have no split"),
        (
            HEAD + "a.png,covid,7,s,train\nb.png,normal,7,s,test\n",
            "patient 7 is in two splits, train (a.png) and test (b.png)",
        ),
        (HEAD + "a.png,covid,1,s,train\na.png,covid,2,s,val\n", "a.png stands in splits train and val"),
        (HEAD + "a.png,covid,1,s,train\na.png,normal,1,s,train\n", "a.png stands twice"),
        (HEAD + "a.png,covid,1,s,train\nb.png,covid,1,s,train\n", "class covid has one patient (1)"),
        (
            HEAD + "a.png,covid,1,s,train\nb.png,covid,2,s,train\n",
            "there is no covid picture in split val",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, text, words):
    assert words in line(write(tmp_path, text))


def test_an_index_that_is_not_there_or_no_text(tmp_path):
    assert "There is no index" in line(tmp_path / "index.csv")
    (tmp_path / "index.csv").write_bytes(b"\xff\xfe\x00\x01")
    assert "cannot be read as a CSV" in line(tmp_path / "index.csv")
    (tmp_path / "empty").mkdir()
    assert "no index is in this folder" in line(tmp_path / "empty")


def test_further_columns_spaces_and_a_byte_order_mark_do_no_harm(tmp_path):
    path = write(tmp_path, "\ufefffile, label ,finding,patient,source\na.png, covid,x,1,\nb.png,normal,y,2,s\n")
    draw(tmp_path, ("a.png", "b.png"))
    rows = read_index(path).rows
    assert [(row.label, row.source) for row in rows] == [("covid", "unknown"), ("normal", "s")]
    assert rows[0].path == tmp_path / "a.png"


def many(patients: int, seed: int = 0) -> list[Row]:
    """Each patient has one to three pictures, of one label or of two."""
    rows = []
    for i in range(patients):
        for j in range(1 + i % 3):
            label = CLASSES[(i + (j == 2)) % 3]
            rows.append(Row(Path(f"{i}-{j}"), f"{i}-{j}", label, f"p{i}", f"s{i % 2}", ""))
    return rows


def test_made_splits_keep_patients_whole_and_labels_spread():
    rows = assign_splits(many(300), seed=1)
    homes = {row.patient: {r.split for r in rows if r.patient == row.patient} for row in rows}
    assert all(len(splits) == 1 for splits in homes.values())
    for label in CLASSES:
        for source in ("s0", "s1"):
            own = [row.split for row in rows if row.label == label and row.source == source]
            shares = {split: n / len(own) for split, n in Counter(own).items()}
            assert shares["train"] == pytest.approx(0.7, abs=0.08)
            assert shares["val"] == pytest.approx(0.1, abs=0.08)


def test_made_splits_follow_the_seed_and_not_the_order_of_rows():
    by_name = {row.name: row.split for row in assign_splits(many(60), seed=3)}
    assert {row.name: row.split for row in assign_splits(many(60)[::-1], seed=3)} == by_name
    assert {row.name: row.split for row in assign_splits(many(60), seed=4)} != by_name


def test_a_class_of_few_patients_still_reaches_every_split(tmp_path):
    names = tuple(f"{label}{i}.png" for label in CLASSES for i in range(3))
    text = "file,label,patient,source\n" + "".join(f"{n},{n[:-5]},{n},s\n" for n in names)
    path = write(tmp_path, text, names)
    draw(tmp_path, names)
    index = read_index(path, seed=5)
    require_trainable(index)
    assert index.split_seed == 5
    assert index.counts() == {split: dict.fromkeys(CLASSES, 1) for split in ("train", "val", "test")}
