"""What is measured on: seeded phantoms in the files that hospitals have, and a small bundle, real in every part."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

from cxrscreen.imaging import phantoms
from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes

KINDS = ("normal", "pneumonia", "covid")
DRAWN = 12  # phantoms that are drawn; the other files are these, shifted, so that every file has its own bytes
SIDE = 2048


def write_corpus(folder: Path, counts: dict[str, int], side: int = SIDE) -> dict[str, list[Path]]:
    """The files of each part, no two alike: `jpeg` (8 bit), `dicom` (12 bit, as it is), `j2k` (the same in lossless
    JPEG 2000), all side x side pixels, and `png` (8 bit) of half the side."""
    makers: dict[str, tuple[str, Callable[[int], bytes]]] = {
        "jpeg": (".jpg", lambda n: _jpeg(_shifted(_eight(n, side), n))),
        "dicom": (".dcm", lambda n: dicom_bytes(_shifted(_twelve(n, side), n), n, 1, inverted=n % 2 == 1)),
        "j2k": (".dcm", lambda n: compressed(dicom_bytes(_shifted(_twelve(n, side), n), n, 2, inverted=n % 2 == 1))),
        "png": (".png", lambda n: picture_bytes(_shifted(_eight(n, side // 2), n), "PNG")),
    }
    drawn: dict[tuple[int, int, int], NDArray[np.uint8] | NDArray[np.uint16]] = {}

    def draw(number: int, side: int, bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        key = (number % DRAWN, side, bits)
        if key not in drawn:
            drawn[key] = phantoms.phantom(KINDS[number % 3], seed=key[0], side=side, bits=bits)
        return drawn[key]

    def _eight(number: int, side: int) -> NDArray[np.uint8]:
        return draw(number, side, 8).astype(np.uint8)

    def _twelve(number: int, side: int) -> NDArray[np.uint16]:
        return draw(number, side, 12).astype(np.uint16)

    made = {}
    for part, count in counts.items():
        ending, make = makers[part]
        (folder / part).mkdir(parents=True)
        made[part] = [folder / part / f"{number:05}{ending}" for number in range(count)]
        for number, path in enumerate(made[part]):
            path.write_bytes(make(number))
    return made


def _shifted(pixels: NDArray[Any], number: int) -> NDArray[Any]:
    return np.roll(pixels, 8 * (number // DRAWN), axis=1)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def compressed(plain: bytes) -> bytes:
    """A DICOM file in lossless JPEG 2000."""
    dataset = pydicom.dcmread(BytesIO(plain))
    dataset.compress(uid.JPEG2000Lossless, encoding_plugin="pylibjpeg")
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_bundle(folder: Path, backbone: str, size: int, seed: int) -> Path:
    """A bundle trained for a moment: its weights are of no use, its arithmetic is that of any other."""
    from models.learning.recipes import TrainOptions
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


def altered(source: Path, target: Path, part: str) -> Path:
    """The same bundle under another `head`, as a shallow tuning would bring, or over another `backbone`."""
    from models import bundle

    screener = bundle.load(source)
    numbers = screener.network.head.weight if part == "head" else next(screener.network.body.parameters())
    with torch.no_grad():
        numbers.mul_(0.9 if part == "head" else 0.999)
    written = ("format", "weights", "feature_space")
    record = {key: value for key, value in screener.record.items() if key not in written}
    return bundle.save(target, record | {"name": f"bench-{part}"}, screener.network, screener.likeness, {})
