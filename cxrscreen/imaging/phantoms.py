"""Synthetic frontal chests, drawn from a seed: for demonstrations and tests, never a picture of a person."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxrscreen.imaging.anatomy import LEFT, RIGHT, Chest, Map, as_map, soft
from cxrscreen.imaging.phantom_files import dicom_bytes, picture_bytes

KINDS = ("normal", "pneumonia", "covid")
MARK = "PHANTOM"


def phantom(kind: str, seed: int, side: int = 512, bits: int = 8) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A frontal chest [side, side], bone white, uint8 for 8 bits and uint16 for 9 to 16.

    kind: "normal", clear lungs; "pneumonia", a dense consolidation on one side; "covid", hazy opacities on both, at
    the edges and low. The same arguments give the same pixels. Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no phantom of kind {kind!r}: {', '.join(KINDS)}")
    rng = np.random.default_rng([KINDS.index(kind), seed])
    chest = Chest(rng, side)
    beam = chest.beam()
    if kind == "pneumonia":
        beam += _consolidation(chest, rng)
    elif kind == "covid":
        beam += _hazy_patches(chest, rng)
    beam += chest.air * (0.016 * chest.clouds(24, 3) + 0.02 * chest.clouds(3, 2))
    grey = _expose(beam, rng)
    top = 2**bits - 1
    picture: Map = np.rint(_marked(grey) * top)
    return picture.astype(np.uint8) if bits == 8 else picture.astype(np.uint16)


def _consolidation(chest: Chest, rng: np.random.Generator) -> Map:
    side = int(rng.choice((RIGHT, LEFT)))
    x, y = side * rng.uniform(0.32, 0.48), rng.uniform(-0.25, 0.38)
    shape = chest.blob(float(x), float(y), float(rng.uniform(0.20, 0.30)), float(rng.uniform(0.16, 0.26)), 0.07)
    ragged = soft(shape - 0.5 + 0.16 * chest.clouds(6, 3), 0.08)
    return as_map(float(rng.uniform(0.22, 0.32)) * ragged * chest.lungs[side] * (1 - 0.8 * chest.heart))


def _hazy_patches(chest: Chest, rng: np.random.Generator) -> Map:
    total = np.zeros_like(chest.x)
    for side in (RIGHT, LEFT):
        for _ in range(int(rng.integers(2, 5))):
            y = float(rng.uniform(-0.25, 0.48))
            edge = 0.74 * np.sqrt(1 - ((y - 0.17) / 0.93) ** 2)
            x = side * (edge - float(rng.uniform(0.04, 0.16)))
            patch = chest.blob(x, y, float(rng.uniform(0.11, 0.18)), float(rng.uniform(0.10, 0.17)), 0.09)
            total += float(rng.uniform(0.15, 0.22)) * patch
    veil = np.clip(1 + 0.35 * chest.clouds(8, 3), 0, 2)
    return as_map(np.minimum(total, 0.30) * veil * chest.free)


def _expose(beam: Map, rng: np.random.Generator) -> Map:
    """From what the beam met to greys 0 to 1: a curve like a film's, a little scatter, noise that grows in the dark."""
    centre, slope = float(rng.uniform(0.40, 0.46)), float(rng.uniform(4.3, 5.2))
    black = 0.5 + 0.5 * np.tanh(-centre * slope / 2)
    grey = (soft(beam - centre, 1 / slope) - black) / (1 - black)
    grain = rng.standard_normal(beam.shape).astype(np.float32)
    return as_map(np.clip(grey + grain * (0.008 + 0.012 * (1 - grey)), 0, 1))


def _marked(grey: Map) -> Map:
    """The word PHANTOM in a corner, the same on every kind, so that nothing can be learnt from it."""
    side = len(grey)
    sheet = Image.new("L", (side, side))
    font = ImageFont.load_default(max(9, side // 30))
    ImageDraw.Draw(sheet).text((side // 40, side // 40), MARK, fill=235, font=font)
    return np.maximum(grey, np.asarray(sheet, np.float32) / 255)


def write_index(folder: Path, per_class: int = 80, seed: int = 0, side: int = 256) -> Path:
    """PNG files and their index.csv, for training: 70 % train, 15 % val, 15 % test of each class; answers its path."""
    pictures = folder / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    index = folder / "index.csv"
    with index.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label", "patient", "source", "split"))
        for kind in KINDS:
            for number in range(per_class):
                share = (number + 0.5) / per_class
                split = "train" if share < 0.7 else "val" if share < 0.85 else "test"
                name = f"{kind}-{number:04d}"
                Image.fromarray(phantom(kind, seed * 100_000 + number, side)).save(pictures / f"{name}.png")
                writer.writerow((f"images/{name}.png", kind, name, "phantom", split))
    return index


def write_archive(path: Path, per_class: int = 12, seed: int = 0, side: int = 512) -> Path:
    """A zip of phantoms as a ward sends them: DICOM of both polarities, 16-bit PNG, JPEG, in no order of kinds.

    Its README.txt, the one file that is no picture, tells which is which. The same arguments give the same bytes.
    """
    kinds = [kind for kind in KINDS for _ in range(per_class)]
    order = np.random.default_rng(seed).permutation(len(kinds))
    truth = ["Synthetic pictures (phantoms), not of any person. What each was drawn as:", ""]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, place in enumerate(order, start=1):
            kind = kinds[place]
            # Every kind comes in every format: the place within its kind decides.
            name, data = _file(kind, int(place) % per_class, number, seed, side)
            _add(archive, name, data)
            truth.append(f"{name} {kind}")
        _add(archive, "README.txt", ("\n".join(truth) + "\n").encode())
    return path


def _file(kind: str, place: int, number: int, seed: int, side: int) -> tuple[str, bytes]:
    folder, drawn = f"study-{number:04d}", seed * 100_000 + place
    if place % 4 < 2:
        pixels = phantom(kind, drawn, side, bits=12).astype(np.uint16)
        return f"{folder}/IM-0001.dcm", dicom_bytes(pixels, number, seed, inverted=place % 4 == 1)
    if place % 4 == 2:
        return f"{folder}/chest.png", picture_bytes(phantom(kind, drawn, side, bits=16), "PNG")
    return f"{folder}/chest.jpg", picture_bytes(phantom(kind, drawn, side), "JPEG")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name, date_time=(2020, 4, 1, 12, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, data)
