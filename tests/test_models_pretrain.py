"""Pretraining without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from evaluation_fixtures import SMALLEST

from cxrscreen.cli import cli
from cxrscreen.imaging import phantoms
from models.errors import IndexInvalid, OptionsInvalid
from models.learning.loop import Progress
from models.learning.weights import load_weights
from models.pretrain import PretrainOptions, pretrain, twin_loss
from models.transfer import Network

QUICK = PretrainOptions(
    backbone=SMALLEST, size=32, epochs=3, batch=16, lr=2e-3, projection=32, pretrained=False, threads=1
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    return phantoms.write_index(folder, per_class=16, seed=0, side=96)


def test_equal_views_without_redundance_cost_nothing():
    z = torch.linalg.qr(torch.randn(64, 9, generator=torch.Generator().manual_seed(0)))[0][:, :8]
    z = torch.linalg.qr(torch.cat([torch.ones(64, 1), z], dim=1))[0][:, 1:]  # no mean, no correlation
    assert twin_loss(z, z, 5e-3) < 1e-2
    assert twin_loss(z, -z, 5e-3) > 8
    assert twin_loss(z[:, :1].repeat(1, 8), z[:, :1].repeat(1, 8), 1.0) > 40  # every feature says the same


def test_it_learns_and_train_can_begin_with_it(index, tmp_path):
    losses = []
    written = pretrain(index, tmp_path / "w.safetensors", QUICK, lambda p: losses.append(p.loss) if p.loss else None)
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert not (tmp_path / "w.safetensors.checkpoint").exists()
    network = Network(SMALLEST, 3)
    load_weights(network, written)
    again = pretrain(index, tmp_path / "again.safetensors", QUICK)
    assert again.read_bytes() == written.read_bytes()


def test_an_interrupted_one_goes_on_to_the_same_weights(index, tmp_path):
    whole = pretrain(index, tmp_path / "whole.safetensors", QUICK)

    def interrupt(told: Progress) -> None:
        if told.stage == "pretrain" and told.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(index, tmp_path / "w.safetensors", QUICK, interrupt)
    epochs = []
    resumed = pretrain(index, tmp_path / "w.safetensors", QUICK, lambda p: epochs.append((p.stage, p.epoch)))
    assert [epoch for stage, epoch in epochs if stage == "pretrain"] == [3]
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_folder_will_do_and_validation_pictures_take_no_part(index, tmp_path):
    seen = []
    pretrain(index.parent, tmp_path / "w.safetensors", replace(QUICK, epochs=1), lambda p: seen.append(p))
    assert seen[0].epochs == 48
    seen.clear()
    pretrain(index, tmp_path / "v.safetensors", replace(QUICK, epochs=1), lambda p: seen.append(p))
    assert seen[0].epochs < 48


def test_children_with_labels_of_their_own_are_pictures_too(test_data, tmp_path):
    rows = (test_data / "paediatric" / "index.csv").read_text().splitlines()[:20]
    short = tmp_path / "index.csv"
    short.write_text("\n".join(rows) + "\n")
    (tmp_path / "images").symlink_to(test_data / "paediatric" / "images")
    assert pretrain(short, tmp_path / "w.safetensors", replace(QUICK, epochs=1)).exists()


def test_a_leaking_index_is_refused_and_not_read_without_its_splits(index, tmp_path):
    lines = index.read_text().splitlines()
    columns = lines[0].split(",")
    rows = [dict(zip(columns, line.split(","), strict=True)) for line in lines[1:]]
    for row in rows:
        row["file"] = str((index.parent / row["file"]).resolve())
    first = next(row for row in rows if row["split"] == "train")
    next(row for row in rows if row["split"] == "test")["patient"] = first["patient"]
    leaking = tmp_path / "index.csv"
    leaking.write_text("\n".join([lines[0], *(",".join(row[name] for name in columns) for row in rows)]) + "\n")
    with pytest.raises(IndexInvalid, match="is in two splits"):
        pretrain(leaking, tmp_path / "w", QUICK)


def test_what_cannot_be_is_one_line(index, tmp_path):
    with pytest.raises(OptionsInvalid, match="batch of 8"):
        pretrain(index, tmp_path / "w", replace(QUICK, batch=2))
    with pytest.raises(IndexInvalid, match="holds 0 pictures"):
        pretrain(tmp_path, tmp_path / "w", QUICK)
    odd = tmp_path / "odd.csv"
    odd.write_text("picture\nx.png\n")
    for source, words in ((odd, "has no column file"), (index, "does not exist")):
        target = tmp_path / "nowhere" / "w" if source is index else tmp_path / "w"
        done = CliRunner().invoke(cli, ["pretrain", str(source), "--out", str(target)])
        assert words in str(done.exception) and done.exit_code
