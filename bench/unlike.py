"""Pictures of other things, and how far a bundle finds them from a chest: `python -m bench.unlike [BUNDLE] [DATA]`.

Distances are in multiples of the bundle's limit, so 1 is where a picture is refused. DATA is the folder of real files,
$CXRSCREEN_TEST_DATA by default.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageDraw, ImageFilter
from rich.console import Console
from rich.table import Table

from models import bundle
from models.data import read_index
from models.loading import pictures

Pixels = npt.NDArray[np.uint8]
SHIPPED = Path(__file__).resolve().parent.parent / "models" / "bundles" / "cxr-open-4"
DATA = "../shared/data"


def greys(pixels: npt.NDArray[np.generic]) -> Pixels:
    x = pixels.astype(float)
    x = x[..., :3].mean(axis=2) if x.ndim == 3 else x
    return ((x - x.min()) / max(float(np.ptp(x)), 1e-9) * 255).astype(np.uint8)


def hand(seed: int) -> Pixels:
    """Five fingers of soft tissue with bones in them, as a radiograph would show them."""
    chance = np.random.default_rng(seed)
    image = Image.new("L", (420, 520), int(chance.integers(5, 40)))
    draw = ImageDraw.Draw(image)
    draw.ellipse((120, 260, 300, 470), fill=90)
    for finger, left in enumerate((110, 160, 205, 250, 300)):
        top = 100 + abs(finger - 2) * 25 + int(chance.integers(0, 20))
        draw.rounded_rectangle((left, top, left + 34, 330), 15, fill=95)
        for bone in range(4):
            draw.rounded_rectangle((left + 10, top + 8 + bone * 50, left + 24, top + 50 + bone * 50), 6, fill=200)
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(3)), dtype=float)
    return (blurred + chance.normal(0, 4, blurred.shape)).clip(0, 255).astype(np.uint8)


def text(seed: int) -> Pixels:
    image = Image.new("L", (500, 600), 255)
    draw = ImageDraw.Draw(image)
    for line in range(20, 580, 16):
        draw.text((20 + seed, line), "Findings: the heart is normal in size; no effusion. " * 2, fill=0)
    return np.asarray(image.rotate(90 * seed, expand=True))


def drawn() -> Iterator[Pixels]:
    yield from (hand(seed) for seed in range(4))
    yield from (text(seed) for seed in range(3))
    chance = np.random.default_rng(0)
    yield from (chance.integers(0, 256, (400, 400), dtype=np.uint8) for _ in range(3))
    down, across = np.mgrid[:400, :400]
    yield greys(across)
    yield greys(-np.hypot(across - 200, down - 200))
    yield greys((np.hypot(across - 200, down - 200) < 120).astype(float))


def photographs() -> Iterator[Pixels]:
    from skimage import data

    for name in ("astronaut", "camera", "coins", "text", "clock", "coffee", "chelsea", "rocket", "brick", "grass",
                 "gravel", "horse", "moon", "page"):  # fmt: skip
        yield greys(np.asarray(getattr(data, name)()))


def other_dicom(folder: Path) -> Iterator[Pixels]:
    """The first frame of each DICOM file that does not say CHEST, its tags otherwise ignored."""
    for path in sorted(folder.glob("*.dcm")):
        tags = pydicom.dcmread(path, force=True)
        if tags.get("BodyPartExamined") == "CHEST" or "PixelData" not in tags:
            continue
        try:
            pixels = tags.pixel_array
        except (ValueError, AttributeError, NotImplementedError):
            continue  # cut short, or not of this decoder: there is no picture to measure
        stacked = pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[-1] not in (3, 4))
        yield greys(pixels[0] if stacked else pixels)


def chests(data: Path, split: str) -> list[Pixels]:
    return [pixels for _, pixels in pictures(read_index(data / "cxr" / "index.csv").split(split))]


def children(data: Path, every: int = 8) -> list[Pixels]:
    with (data / "paediatric" / "index.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)][::every]
    return [np.asarray(Image.open(data / "paediatric" / name).convert("L")) for name in names]


def distances(screener: bundle.Screener, images: Sequence[Pixels]) -> npt.NDArray[np.float64]:
    """In multiples of the limit [N]."""
    found = screener.predict(images).distance
    assert found is not None
    return np.asarray(found / screener.record["distance_limit"], dtype=np.float64)


def main(folder: Path, data: Path) -> None:
    screener = bundle.load(folder)
    test = chests(data, "test")
    kinds: dict[str, list[Pixels]] = {
        "hands, text, noise, shapes, drawn": list(drawn()),
        "photographs (scikit-image)": list(photographs()),
        "DICOM of other kinds, tags ignored": list(other_dicom(data / "dicom")),
        "chests, validation (sets the limit)": chests(data, "val"),
        "chests, test": test,
        "children's chests, another hospital": children(data),
        "chests lying on their side": [np.rot90(one).copy() for one in test],
        "chests upside down": [one[::-1].copy() for one in test],
        "chests with inverted greys": [255 - one for one in test],
    }
    table = Table("pictures", "n", "nearest", "median", "farthest", "refused", box=None)
    for name, images in kinds.items():
        d = distances(screener, images)
        low, middle, high = np.quantile(d, [0, 0.5, 1])
        table.add_row(name, str(len(d)), f"{low:.2f}", f"{middle:.2f}", f"{high:.2f}", f"{(d > 1).mean():.0%}")
    Console().print(table)


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.unlike")
    options.add_argument(
        "bundle", type=Path, nargs="?", default=SHIPPED, help="its folder; default: the model in the box"
    )
    options.add_argument("data", type=Path, nargs="?", default=Path(os.environ.get("CXRSCREEN_TEST_DATA", DATA)),
                         help="the folder of real files; default: $CXRSCREEN_TEST_DATA")  # fmt: skip
    return options.parse_args()


if __name__ == "__main__":
    given = arguments()
    main(given.bundle, given.data)
