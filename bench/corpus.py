"""What is measured on: seeded phantoms in files, and a small bundle that is real in every part."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cxrscreen.imaging import phantoms

KINDS = ("normal", "pneumonia", "covid")
DRAWN = 24  # phantoms that are drawn; the others are these, turned and shifted, so that every file has its own bytes


def write_jpegs(folder: Path, count: int, side: int) -> list[Path]:
    """`count` grey JPEG files of side x side pixels, no two alike."""
    folder.mkdir(parents=True)
    drawn = [Image.fromarray(phantoms.phantom(KINDS[n % 3], seed=n, side=side)) for n in range(min(DRAWN, count))]
    paths = []
    for number in range(count):
        picture = drawn[number % len(drawn)]
        turned = picture.rotate(0.1 * (number // len(drawn)), Image.Resampling.BILINEAR)
        paths.append(folder / f"{number:05}.jpg")
        turned.save(paths[-1], quality=90)
    return paths


def make_bundle(folder: Path, backbone: str, size: int, seed: int) -> Path:
    """A bundle trained for a moment: its weights are of no use, its arithmetic is that of any other."""
    from models.recipes import TrainOptions
    from models.training import train

    index = phantoms.write_index(folder / "train", per_class=12, seed=seed, side=128)
    options = TrainOptions(
        recipe="phantom",
        phantom=True,
        backbone=backbone,
        size=size,
        epochs=2,
        seed=seed,
        threads=1,
        name=f"bench-{seed}",
    )
    return train(index, folder / "bundle", options)
