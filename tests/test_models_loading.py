"""Pictures of an index, read as the screening worker reads them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxrscreen import imaging
from cxrscreen.imaging import phantoms
from models.data import read_index
from models.errors import IndexInvalid
from models.images import to_input
from models.loading import load, pictures


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_index(folder, per_class=4, seed=0, side=128)
    return read_index(folder / "index.csv").rows


def test_training_sees_the_pixels_that_screening_sees(rows):
    loaded = load(rows, 64)
    assert loaded.inputs.shape == (12, 1, 64, 64)
    for position, row in enumerate(rows):
        prepared = next(iter(imaging.prepare(row.path.read_bytes(), row.name)))
        expected = to_input(np.asarray(imaging.decode(prepared.derivative)), 64)
        assert np.array_equal(loaded.inputs[position, 0].numpy(), expected)


def test_order_is_that_of_the_rows_whatever_the_threads(rows):
    one = [digest for digest, _ in pictures(rows, threads=1)]
    assert [digest for digest, _ in pictures(rows, threads=4)] == one
    assert len(set(one)) == 12


def test_the_fingerprint_follows_pictures_labels_and_splits_only(rows, tmp_path):
    before = load(rows, 32).fingerprint()
    assert load(rows[::-1], 64).fingerprint() == before
    moved = [replace(row, path=tmp_path / row.path.name, patient="x") for row in rows]
    for row, old in zip(moved, rows, strict=True):
        shutil.copy(old.path, row.path)
    assert load(moved, 32).fingerprint() == before
    other = "normal" if rows[0].label != "normal" else "covid"
    assert load([replace(rows[0], label=other), *rows[1:]], 32).fingerprint() != before


def test_a_picture_that_cannot_be_read_is_named(rows, tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("not a picture")
    with pytest.raises(IndexInvalid, match=r"The picture images/notes.png cannot be used"):
        load([rows[0], replace(rows[1], path=text, name="images/notes.png")], 32)
    with pytest.raises(IndexInvalid, match=r"cannot be read: No such file"):
        load([replace(rows[0], path=tmp_path / "gone.png")], 32)


def test_the_same_bytes_in_two_splits_are_a_leak(rows, tmp_path):
    copy = tmp_path / "copy.png"
    shutil.copy(rows[0].path, copy)
    twin = replace(rows[0], path=copy, name="copy.png", split="test" if rows[0].split != "test" else "train")
    with pytest.raises(IndexInvalid, match=r"copy.png .* holds the same bytes as"):
        load([rows[0], twin], 32)


def test_a_split_takes_its_own_rows(rows):
    loaded = load(rows, 32)
    train = loaded.split("train")
    assert {row.split for row in train.rows} == {"train"}
    assert torch.equal(train.labels, loaded.labels[[row.split == "train" for row in rows]])
