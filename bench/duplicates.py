"""How well the search for copies tells copies from look-alikes: `python -m bench.duplicates INDEX...`.

Prints how many pairs of different patients stand within each distance, how many altered copies of the same pictures
are found at the bounds of `models.indexes.duplicates`, and how long the search takes over 100,000 hashes. An INDEX of
another label than ours is read as well (a CSV with file and patient), so that other chests can be added.
"""

from __future__ import annotations

import argparse
import io
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from rich.console import Console

from models.indexes.detail import agreement, agreements, detail
from models.indexes.duplicates import AGREE, COARSE, NEAR, Prints, candidates, fingerprint, fingerprints
from models.indexes.rows import Row, table
from models.loading import pictures

BOUNDS = {"64 bits": (4, 8, 10, 12, 14), "256 bits": (40, 44, 48, 52, 56, 60)}
out = Console(highlight=False, soft_wrap=True)


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("L")


def cropped(picture: Image.Image, share: float) -> Image.Image:
    dx, dy = (int(side * share) for side in picture.size)
    return picture.crop((dx, dy, picture.width - dx, picture.height - dy))


def lettered(picture: Image.Image) -> Image.Image:
    copy = picture.copy()
    pen = ImageDraw.Draw(copy)
    pen.text((10, 10), "R PORTABLE 12:30 SUPINE", fill=255, font_size=24)
    pen.rectangle((10, 40, 60, 90), outline=255, width=3)
    return copy


def brightened(picture: Image.Image, gamma: float) -> Image.Image:
    return picture.point([round(255 * (grey / 255) ** gamma) for grey in range(256)])


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 50, 224 px": lambda p: jpeg(p.resize((224, max(64, 224 * p.height // p.width))), 50),
    "resized to a square of 224": lambda p: p.resize((224, 224)),
    "gamma 0.7": lambda p: brightened(p, 0.7),
    "gamma 1.5": lambda p: brightened(p, 1.5),
    "contrast stretched": lambda p: ImageOps.autocontrast(p, cutoff=2),
    "histogram equalised": ImageOps.equalize,
    "letters and a box": lettered,
    "cropped by 2 %": lambda p: cropped(p, 0.02),
    "cropped by 5 %": lambda p: cropped(p, 0.05),
    "turned by 2 degrees": lambda p: p.rotate(2),
    "mirrored": ImageOps.mirror,
}


def rows_of(path: Path) -> list[Row]:
    return [
        Row(path.parent / cells["file"], cells["file"], cells["label"], cells["patient"], cells["source"], "")
        for _, cells in table(path)
    ]


def strangers(rows: list[Row], prints: Prints) -> None:
    """Counts of pairs of different patients within each bound."""
    patients = np.unique([row.patient for row in rows], return_inverse=True)[1]
    counts = {name: dict.fromkeys(bounds, 0) for name, bounds in BOUNDS.items()}
    nearest, total = 256, 0
    for position in range(len(rows) - 1):
        others = slice(position + 1, None)
        strange = patients[others] != patients[position]
        total += int(strange.sum())
        for name, words in (("64 bits", prints.coarse), ("256 bits", prints.fine)):
            distance = np.bitwise_count(words[others] ^ words[position]).sum(axis=1, dtype=np.int64)[strange]
            for bound in BOUNDS[name]:
                counts[name][bound] += int((distance <= bound).sum())
            if name == "256 bits" and len(distance):
                nearest = min(nearest, int(distance.min()))
    out.print(f"{len(rows)} pictures, {total} pairs of different patients; the nearest differ in {nearest} of 256 bits")
    for name, found in counts.items():
        out.print(f"   {name}: " + ", ".join(f"{number} within {bound}" for bound, number in found.items()))
    _, close = candidates(prints)
    close = [pair for pair in close if patients[pair.first] != patients[pair.second]]
    agree = sorted(agreements(rows, [(pair.first, pair.second) for pair in close]), reverse=True)
    best = ", ".join(f"{value:.2f}" for value in agree[:5]) or "none"
    out.print(
        f"   within {COARSE} of 64 and {NEAR} of 256 bits: {len(close)}; their structures agree by {best} at most; "
        f"held for copies ({AGREE} and more): {sum(value >= AGREE for value in agree)}"
    )


def copies(rows: list[Row], prints: Prints, number: int) -> None:
    """The share of altered copies that are found at the bounds."""
    chosen = np.random.default_rng(0).choice(len(rows), min(number, len(rows)), replace=False)
    found = dict.fromkeys(COPIES, 0)
    for place, (_, pixels) in zip(chosen, pictures([rows[i] for i in chosen]), strict=True):
        for name, alter in COPIES.items():
            altered = np.asarray(alter(Image.fromarray(pixels)))
            coarse, fine = fingerprint(altered)
            near = np.bitwise_count(coarse ^ prints.coarse[place]).sum() <= COARSE
            near &= np.bitwise_count(fine ^ prints.fine[place]).sum(dtype=np.int64) <= NEAR
            found[name] += bool(near and agreement(detail(pixels), detail(altered)) >= AGREE)
    out.print(f"altered copies of {len(chosen)} pictures that are found")
    for name, hits in found.items():
        out.print(f"   {hits / len(chosen):4.0%}  {name}")


def speed(prints: Prints, number: int) -> None:
    """Hashes of real pictures with a third of the bits drawn anew, so that they lie together as real ones do."""
    chance = np.random.default_rng(0)
    base = chance.integers(0, len(prints.coarse), number)

    def blurred(words: np.ndarray) -> np.ndarray:
        draw = [chance.integers(0, 2**64, (number, words.shape[1]), dtype=np.uint64) for _ in range(3)]
        mask = draw[0] & (draw[1] | draw[2])
        return words[base] ^ mask

    many = Prints(tuple(map(str, range(number))), blurred(prints.coarse), blurred(prints.fine))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    pairs = candidates(many)[1]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    took = time.perf_counter() - began
    out.print(f"search over {number} hashes: {took:.1f} s, {grown:.0f} MiB more at its peak, {len(pairs)} candidates")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.duplicates", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("index", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=250, help="that altered copies are made of (250)")
    parser.add_argument("--hashes", type=int, default=100_000, help="of the timed search (100,000)")
    options = parser.parse_args()
    began = time.perf_counter()
    rows, prints = fingerprints([row for path in options.index for row in rows_of(path)])
    took = time.perf_counter() - began
    out.print(f"read and hashed {len(rows)} pictures in {took:.1f} s")
    strangers(rows, prints)
    copies(rows, prints, options.pictures)
    speed(prints, options.hashes)


if __name__ == "__main__":
    main()
