"""The indexes that people have become rows: real lists, tables and reports, and small ones drawn up here."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data import read_index, require_trainable
from models.errors import IndexInvalid
from models.indexes import covidx, detect, ieee8023, indiana, read
from models.indexes.reports import affirms_pneumonia, read_reports
from models.indexes.rows import Options

CLASSES = ("covid", "normal", "pneumonia")


def draw(path: Path, seed: int) -> Path:
    """A picture that resembles no other one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    return path


def line(path: Path, format: str = "auto", **options) -> str:
    with pytest.raises(IndexInvalid) as caught:
        read_index(path, format=format, options=Options(**options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_our_csv_keeps_view_sex_and_age(test_data):
    rows = read_index(test_data / "cxr").rows
    assert rows == read_index(test_data / "cxr" / "index.csv").rows
    assert (rows[0].view, rows[0].sex, rows[0].age) == ("PA", "F", 58)
    adults = read_index(test_data / "cxr", options=Options(adults=True))
    assert len(adults.rows) == 1075 - 71 and adults.left_out["under 18 years"] == 71
    assert "the age of 36 pictures is not known" in adults.notes[0]


# class folders


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for place, label in enumerate(("COVID-19", "normal", "Viral Pneumonia")):
        for number in range(6):
            draw(tmp_path / "set" / label / f"{number}.png", 10 * place + number)
    return tmp_path / "set"


def test_class_folders_read_and_say_that_patients_are_unknown(folders):
    (folders / "normal" / "Thumbs.db").write_bytes(b"x")
    (folders / "normal" / ".hidden").write_bytes(b"x")
    index = read_index(folders, seed=2)
    require_trainable(index)
    assert Counter(row.label for row in index.rows) == dict.fromkeys(CLASSES, 6)
    assert len({row.patient for row in index.rows}) == 18 and {row.source for row in index.rows} == {"set"}
    assert index.left_out == {"not a picture": 1}
    assert "patients are unknown for 18 pictures" in index.notes[0]
    assert read_index(folders, seed=2).rows == index.rows


def test_folders_beneath_a_class_are_patients_and_a_pattern_finds_them(folders):
    for name in ("p1", "p2"):
        draw(folders / "normal" / name / "images" / "a.png", 50 + ord(name[1]))
        draw(folders / "normal" / name / "masks" / "a.png", 60 + ord(name[1]))
    _, found = read(folders)
    assert {row.patient for row in found.rows if "/p" in row.name} == {"p1", "p2"}
    assert found.left_out["a mask"] == 2
    _, found = read(folders, options=Options(patient=r"/(\d|p\d)(?:/|\.)"))
    assert not found.notes and {row.patient for row in found.rows} == {*"012345", "p1", "p2"}
    assert "finds no patient in COVID-19/0.png" in line(folders, patient="person(x)")
    assert "has no group" in line(folders, patient="person")
    assert "is not valid" in line(folders, patient="(")


def test_folders_of_splits_keep_them_and_a_missing_val_is_taken_from_train(folders, tmp_path):
    for number, file in enumerate(sorted(folders.rglob("*.png"))):
        split = ("Training", "test")[number % 6 == 5]
        target = tmp_path / "b" / split / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    index = read_index(tmp_path / "b", seed=4)
    require_trainable(index)
    assert index.counts()["test"] == dict.fromkeys(CLASSES, 1) and index.split_seed == 4
    assert all(row.name.startswith("test/") == (row.split == "test") for row in index.rows)
    assert any("no validation split" in note for note in index.notes)
    (tmp_path / "b" / "normal").mkdir()
    assert "the class folder normal stands beside" in line(tmp_path / "b")


def test_a_patient_in_two_folders_of_splits_is_a_leak(tmp_path):
    for seed, split in enumerate(("train", "val")):
        draw(tmp_path / split / "covid" / "p7" / f"{split}.png", seed)
    assert "patient p7 is in two splits, train (train/covid/p7/train.png)" in line(tmp_path)


def test_folders_that_are_none_are_named(folders):
    draw(folders / "covdi" / "a.png", 90)
    assert "unknown label 'covdi'" in line(folders)
    assert read(folders, options=Options(partial=True))[1].left_out == {"unknown label covdi": 1}
    empty = folders / "none"
    (empty / "covid").mkdir(parents=True)
    assert "has no rows that can be used" in line(empty)
    (folders / "normal" / "0.png").write_text("no picture")
    shutil.rmtree(folders / "covdi")
    shutil.rmtree(empty)
    assert "normal/0.png cannot be used" in line(folders)


# ieee8023

HEAD = "patientid,sex,age,finding,view,modality,folder,filename\n"


def test_the_metadata_of_ieee8023_gives_the_labels_of_the_open_set(test_data, tmp_path):
    metadata = test_data / "lists" / "ieee8023_metadata.csv"
    assert detect(metadata) == "ieee8023"
    found = ieee8023.read(metadata, Options())
    assert found.left_out == {"modality CT": 84, "listed twice": 4}
    assert Counter(row.label for row in found.rows) == {"covid": 236, "normal": 5, "pneumonia": 58}
    truth = {row["file"]: row for row in csv.DictReader((test_data / "cxr" / "index.csv").open())}
    origin = {
        Path(row["origin_path"]).name: truth[row["file"]]
        for row in csv.DictReader((test_data / "cxr" / "attribution.csv").open())
    }
    for row in found.rows:
        known = origin[row.path.name]
        assert (row.label, row.view, row.sex) == (known["label"], known["view"], known["sex"])
        assert ("" if row.age is None else f"{row.age:g}") == known["age"]
    # With its pictures in place it reads as a whole; the open set made one of patients that share a picture.
    (tmp_path / "images").mkdir()
    shutil.copy(metadata, tmp_path / "metadata.csv")
    for name, known in origin.items():
        (tmp_path / "images" / name).symlink_to(test_data / "cxr" / known["file"])
    assert detect(tmp_path) == "ieee8023"
    assert len(read(tmp_path)[1].rows) == 299
    (tmp_path / "images" / found.rows[3].path.name).unlink()
    assert f"the file {found.rows[3].name} does not exist." in line(tmp_path)
    assert read(tmp_path, options=Options(partial=True))[1].left_out["the file is missing"] == 1


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", "covid"),
        ("COVID-19, ARDS", "covid"),
        ("Pneumonia/Viral/COVID-19", "covid"),
        ("No Finding", "normal"),
        ("Pneumonia", "pneumonia"),
        ("Pneumonia/Bacterial/Klebsiella", "pneumonia"),
        ("SARS", "pneumonia"),
        ("Mycoplasma Bacterial Pneumonia", "pneumonia"),
        ("ARDS", None),
        ("Tuberculosis", None),
        ("todo", None),
        ("", None),
    ],
)
def test_findings_of_both_generations(finding, label):
    assert ieee8023.label_of(finding) == label


def test_what_ieee8023_leaves_out_is_counted(tmp_path):
    path = tmp_path / "metadata.csv"
    draw(tmp_path / "images" / "a.png", 1)
    path.write_text(
        HEAD + "1,M,40,COVID-19,PA,X-ray,images,a.png\n2,F,70,COVID-19,L,X-ray,images,b.png\n"
        "3,F,,Tuberculosis,AP Supine,X-ray,images,c.png\n4,F,,COVID-19,Axial,CT,volumes,d.nii\n"
        "5,F,,COVID-19,,X-ray,images,e.png\n6,M,12,No Finding,AP,X-ray,images,f.png\n"
    )
    _, found = read(path, options=Options(adults=True))
    assert [(row.patient, row.age) for row in found.rows] == [("ieee8023-1", 40)]
    assert found.left_out == {
        "not a frontal view": 1,
        "finding Tuberculosis": 1,
        "modality CT": 1,
        "the view is not stated": 1,
        "under 18 years": 1,
    }
    path.write_text(HEAD + "4,F,,COVID-19,Axial,CT,volumes,d.nii\n")
    assert "has no rows that can be used: 1 left out, modality CT" in line(path)
    path.write_text("patientid,finding\n1,COVID-19\n")
    assert "has no column view, filename" in line(path, "ieee8023")


# COVIDx


def test_the_list_of_covidx_8b(test_data, tmp_path):
    path = test_data / "lists" / "test_COVIDx8B.txt"
    assert detect(path) == "covidx"
    found = covidx.read(path, Options())
    assert Counter(row.label for row in found.rows) == {"covid": 200} and found.left_out.total() == 200
    assert {row.split for row in found.rows} == {"test"} and {row.source for row in found.rows} == {"ricord"}
    assert "--negative" in found.notes[0]
    found = covidx.read(path, Options(negative="normal"))
    assert Counter(row.label for row in found.rows) == {"covid": 200, "normal": 200}
    assert len({row.patient for row in found.rows}) == 378
    assert f"the file {found.rows[0].name} does not exist (and 399 more)" in line(path, negative="normal")
    # RSNA's own table says which negatives are normal.
    shutil.copy(path, tmp_path / path.name)
    negatives = [text.split()[0] for text in path.read_text().splitlines() if "negative" in text]
    kinds = ("Normal", "Lung Opacity", "No Lung Opacity / Not Normal")
    table = "".join(f"{patient},{kinds[n % 3]}\n" for n, patient in enumerate(negatives[:30]))
    (tmp_path / covidx.RSNA).write_text("patientId,class\n" + table)
    found = covidx.read(tmp_path / path.name, Options())
    assert Counter(row.label for row in found.rows) == {"covid": 200, "normal": 10, "pneumonia": 10}
    assert found.left_out == {covidx.NEITHER: 10, covidx.EITHER: 170}


def test_a_folder_of_covidx_lists_has_their_splits(tmp_path):
    words = {"covid": "COVID-19", "normal": "normal", "pneumonia": "pneumonia"}
    for seed, split in enumerate(("train", "test")):
        lines = []
        for place, label in enumerate(CLASSES):
            for n in range(4):
                name = f"{label} {n}.png"
                draw(tmp_path / split / name, 100 * seed + 10 * place + n)
                lines.append(f"{split}{label}{n} {name} {words[label]} sirm\n")
        (tmp_path / f"{split}_COVIDx9.txt").write_text("".join(lines) + "\n")
    assert detect(tmp_path) == "covidx"
    index = read_index(tmp_path, seed=1)
    require_trainable(index)
    assert index.counts()["test"] == dict.fromkeys(CLASSES, 4)
    path = tmp_path / "train_COVIDx9.txt"
    assert len(read(path, options=Options(images=tmp_path))[1].rows) == 12
    path.write_text(path.read_text() + "x y.png flu sirm\n")
    assert "line 14: unknown label 'flu'" in line(path)
    path.write_text("a b.png positive sirm\nshort line\n")
    assert "line 2: a line has patient, file, class and source" in line(path)
    path.write_text("a b.png negative rsna\n")
    assert "1 left out, negative: normal or pneumonia?" in line(path)
    assert "Negatives cannot stand for" in line(path, negative="flu")


# Indiana


def test_the_reports_of_indiana(test_data):
    reports = list(read_reports(test_data / "indiana" / "NLMCXR_reports.tgz"))
    assert len(reports) == 3955
    assert Counter(report.label for report in reports) == {"normal": 1391, "pneumonia": 42, None: 2522}
    folder = test_data / "indiana"
    assert detect(folder) == detect(folder / "NLMCXR_reports.tgz") == "indiana"
    found = indiana.read(folder, Options())
    assert Counter(row.label for row in found.rows) == {"normal": 445, "pneumonia": 12}
    assert len(found.rows) + found.left_out.total() - found.left_out["a report without pictures"] == 7470
    assert found.left_out["tagged frontal like every picture of a report that has a lateral"] == 1121
    assert {row.view for row in found.rows} == {"PA", "AP"}
    assert all(row.age is not None for row in found.rows)
    assert "does not exist (and 456 more)" in line(folder)


def test_pictures_of_indiana_are_found_by_any_spelling(test_data, tmp_path):
    first, second, third = indiana.read(test_data / "indiana", Options()).rows[:3]
    for file in (test_data / "indiana").iterdir():
        shutil.copy(file, tmp_path / file.name)
    draw(tmp_path / "NLMCXR_png" / first.name, 1)
    draw(tmp_path / "NLMCXR_dcm" / "7" / second.name.removeprefix("CXR"), 2)
    # A table of projections is believed before the tags.
    lines = [f"1,{second.name.removeprefix('CXR')[:-4]}.dcm.png,Lateral", "1,1_IM-0001-4001.dcm.png,Frontal"]
    (tmp_path / indiana.PROJECTIONS).write_text("uid,filename,projection\n" + "\n".join(lines) + "\n")
    draw(tmp_path / "NLMCXR_png" / "CXR1_1_IM-0001-4001.png", 3)
    _, found = read(tmp_path, options=Options(partial=True))
    assert {row.name for row in found.rows} == {first.name, "CXR1_1_IM-0001-4001.png"}
    assert next(row for row in found.rows if row.name == first.name).path.parent.name == "NLMCXR_png"
    assert third.name not in {row.name for row in found.rows}
    assert indiana.key("CXR1_1_IM-0001-3001") == indiana.key("1_IM-0001-3001.dcm.png") == "1_IM-0001-3001"


@pytest.mark.parametrize(
    ("impression", "affirmed"),
    [
        ("Right lower lobe pneumonia.", True),
        ("No pneumonia.", False),
        ("Clear lungs. Left basilar pneumonia.", True),
        ("Opacity which may represent pneumonia.", False),
        ("XXXX representing pneumonia.", False),
        ("Pneumonia or atelectasis.", False),
        ("Pneumothorax.", False),
    ],
)
def test_an_impression_affirms_or_not(impression, affirmed):
    assert affirms_pneumonia(impression) is affirmed


REPORT = (
    '<eCitation><uId id="CXR{n}"/><AbstractText Label="IMPRESSION">Normal chest.</AbstractText>'
    '<MeSH><major>normal</major></MeSH><parentImage id="CXR{n}_IM-1"><caption>PA view</caption></parentImage>'
    "</eCitation>"
)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def test_broken_reports_are_named(tmp_path):
    head = 'imageid,View Position,Study Date,"Patient\'s Birth Date"\n'
    with gzip.open(tmp_path / indiana.HEADERS[0], "wt") as file:
        file.write(head + "CXR1_IM-1,PA,20110601,19610602\nCXR2_IM-1,LL,20110601,\n")
    draw(tmp_path / "images" / "CXR1_IM-1.png", 1)
    good = {f"r/{n}.xml": REPORT.format(n=n).encode() for n in (1, 2)}
    path = archive(tmp_path / "reports.tgz", good)
    _, found = read(path)
    assert [(row.patient, row.label, row.view, row.age) for row in found.rows] == [("indiana-1", "normal", "PA", 49)]
    assert found.left_out == {"not a frontal view": 1}
    for bad, words in (
        (b"<eCitation><uId", "unclosed token"),
        (b"", "no element found"),
        (b"<eCitation/>", "no uId"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x/>', "declares a document type"),
    ):
        path = archive(tmp_path / "reports.tgz", {**good, "r/3.xml": bad})
        assert "the report r/3.xml is broken" in line(path) and words in line(path)
        assert read(path, options=Options(partial=True))[1].left_out["the report is broken"] == 1
    path.write_bytes(path.read_bytes()[:-40])
    assert "cannot be read as an archive of reports" in line(path)
    (tmp_path / indiana.HEADERS[0]).unlink()
    assert "nothing tells which pictures are frontal" in line(archive(path, good))
    with gzip.open(tmp_path / indiana.HEADERS[0], "wt") as file:
        file.write("imageid,Rows\n1,2\n")
    assert "has no column View Position" in line(path)


# what is no index


def test_sources_that_are_none_are_refused_in_one_line(tmp_path):
    assert "no index is in this folder" in line(tmp_path)
    assert "There is no index" in line(tmp_path / "gone")
    assert "There is no format 'x'" in line(tmp_path, "x")
    picture = draw(tmp_path / "a.png", 1)
    assert "cannot be read as a CSV" in line(picture)
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(b"file,label\n"))
    assert "cannot be read as a CSV" in line(packed)
    (tmp_path / "empty.csv").write_text("")
    assert "has no column file, label, patient, source; its columns are: none" in line(tmp_path / "empty.csv")
    assert "is no folder of class folders" in line(picture, "folders")
