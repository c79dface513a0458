"""Small models of phantoms that evaluation is tried on: one is given a clue in the corner, the other is not."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrscreen.imaging.phantoms import KINDS, phantom
from models.learning import recipes
from models.learning.augment import NONE
from models.training import TrainOptions, train

PER_CLASS = 36
SIDE = 128
# timm's own tests train it: 0.4 million weights, a third of the time of the smallest real network.
SMALLEST = "test_resnet"


@dataclass(frozen=True)
class Tried:
    index: Path
    bundle: Path


def write(folder: Path, marked: bool) -> Path:
    """Phantoms of two sources, each with every class; where `marked`, each covid has a white square in the corner."""
    (folder / "images").mkdir(parents=True)
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label", "patient", "source", "split", "view"))
        for kind in KINDS:
            for number in range(PER_CLASS):
                pixels = np.asarray(phantom(kind, number, SIDE)).astype(np.uint8)
                if marked and kind == "covid":
                    pixels[-10:, -14:] = 255
                name = f"images/{kind}-{number:03d}.png"
                Image.fromarray(pixels).save(folder / name)
                split = "train" if number < 18 else "val" if number < 22 else "test"
                writer.writerow((name, kind, f"{kind}{number}", "ab"[number % 2], split, ("PA", "AP")[number % 3 == 0]))
    return folder / "index.csv"


@contextmanager
def recipe_of_seconds(name: str, side: int, *, flip: bool = True, transfer_epochs: int = 2) -> Iterator[None]:
    """A recipe of that name until the end of the block, through the same door as the real ones."""
    plain = recipes.Schedule(epochs=6, lr=2e-3, batch=8, keep="last", augmentation=replace(NONE, flip=flip))
    made = recipes.Recipe(name, SMALLEST, side, 2, plain, replace(plain, epochs=transfer_epochs, lr=5e-4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, name, made)
        yield


@pytest.fixture(scope="session")
def tiny() -> Iterator[TrainOptions]:
    """Options of a recipe which learns a marker and not much else."""
    with recipe_of_seconds("tiny", 64, flip=False):
        yield TrainOptions(recipe="tiny", phantom=True, threads=1)


@pytest.fixture(scope="session")
def marked(tiny: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    index = write(tmp_path_factory.mktemp("marked") / "set", marked=True)
    return Tried(index, train(index, index.parent / "bundle", tiny))


@pytest.fixture(scope="session")
def unmarked(tiny: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    index = write(tmp_path_factory.mktemp("unmarked") / "set", marked=False)
    return Tried(index, train(index, index.parent / "bundle", tiny))
