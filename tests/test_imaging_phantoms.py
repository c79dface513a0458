"""Synthetic chests: the same from the same seed, marked, and told apart by what is drawn and nothing else."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cxrscreen.imaging import Rejected, prepare, walk
from cxrscreen.imaging.phantoms import KINDS, phantom, write_archive, write_index

CORNER = (slice(0, 40), slice(0, 120))  # where the word stands, at 512 pixels


def test_a_seed_draws_one_picture() -> None:
    assert np.array_equal(phantom("covid", 5, 128), phantom("covid", 5, 128))
    assert not np.array_equal(phantom("covid", 5, 128), phantom("covid", 6, 128))


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_bits_fill_their_range(bits: int, kind: type) -> None:
    drawn = phantom("normal", 1, 128, bits)
    assert drawn.dtype == kind and drawn.shape == (128, 128)
    assert 2 ** (bits - 1) < drawn.max() < 2**bits


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="no phantom of kind 'flu'"):
        phantom("flu", 1)


def test_every_kind_carries_the_same_word() -> None:
    marks = [phantom(kind, seed, 512)[CORNER] > 225 for kind in KINDS for seed in (1, 2, 3)]
    assert marks[0].sum() > 100
    assert all(np.array_equal(mark, marks[0]) for mark in marks)


def test_lungs_are_dark_and_opacities_stand_where_they_should() -> None:
    def halves(kind: str) -> np.ndarray:
        """Mean grey of the outer lung on both sides, for twenty people."""
        drawn = np.stack([phantom(kind, seed, 128) for seed in range(20)]).astype(float)
        return np.stack([drawn[:, 40:92, 20:44].mean((1, 2)), drawn[:, 40:92, 84:108].mean((1, 2))], axis=1)

    normal, covid, pneumonia = halves("normal"), halves("covid"), halves("pneumonia")
    assert normal.mean() < 90
    assert (covid.mean(0) > normal.mean(0) + 8).all()  # both sides
    one_sided = np.abs(pneumonia[:, 0] - pneumonia[:, 1]).mean()
    assert one_sided > np.abs(normal[:, 0] - normal[:, 1]).mean() + 8


def test_the_index_names_files_that_exist_and_no_patient_twice(tmp_path: Path) -> None:
    index = write_index(tmp_path / "set", per_class=10, seed=3, side=96)
    with index.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "patient", "source", "split"]
    assert len({row["patient"] for row in rows}) == len(rows) == 30
    for kind in KINDS:
        splits = [row["split"] for row in rows if row["label"] == kind]
        assert [splits.count(name) for name in ("train", "val", "test")] == [7, 1, 2]
    for row in rows:
        (found,) = prepare((index.parent / row["file"]).read_bytes())
        assert found.refused is None


def test_the_archive_mixes_formats_and_is_the_same_each_time(tmp_path: Path) -> None:
    first = write_archive(tmp_path / "a.zip", per_class=4, seed=9, side=96)
    second = write_archive(tmp_path / "b.zip", per_class=4, seed=9, side=96)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        truth = archive.read("README.txt").decode()
    kinds, photometrics = [], []
    for member in walk(first, "a.zip"):
        try:
            (found,) = prepare(member.read())
        except Rejected:
            assert member.name == "a.zip/README.txt"
            continue
        assert found.facts is not None and found.refused is None
        kinds.append(found.facts.kind)
        photometrics.append(found.facts.photometric)
        assert member.name.removeprefix("a.zip/") in truth
    assert sorted(kinds) == ["dicom"] * 6 + ["jpeg"] * 3 + ["png"] * 3
    assert photometrics.count("MONOCHROME1") == photometrics.count("MONOCHROME2") == 3
