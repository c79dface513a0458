"""The files of bench.gpu, and how each kind is read; without torch, for processes that decode."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bench.corpus import KINDS, SIDE
from cxrscreen.imaging import decode, phantoms, prepare
from cxrscreen.imaging.prepare import DECODED_SIDE
from cxrscreen.imaging.read import open_source
from models.inputs import Pixels, to_input

DRAWN = 4


def write_originals(folder: Path, count: int, threads: int) -> list[Path]:
    """JPEG files of 2048 x 2048, no two alike: a few phantoms drawn at half the side, with grain, shifted."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    grain = chance.integers(-3, 4, (SIDE, SIDE), dtype=np.int16)
    with ThreadPoolExecutor(threads) as pool:

        def draw(number: int) -> Pixels:
            half = phantoms.phantom(KINDS[number % 3], seed=number, side=SIDE // 2).astype(np.uint8)
            whole = np.asarray(Image.fromarray(half).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
            return (whole + grain).clip(0, 255).astype(np.uint8)

        drawn = list(pool.map(draw, range(min(DRAWN, count))))

        def write(number: int) -> Path:
            path = folder / f"{number:05}.jpg"
            shifted = np.roll(drawn[number % len(drawn)], 8 * (number // len(drawn)), axis=1)
            Image.fromarray(shifted).save(path, "JPEG", quality=85)
            return path

        return list(pool.map(write, range(count)))


def write_derivatives(folder: Path, originals: Sequence[Path], count: int, threads: int) -> list[Path]:
    """`count` files of as many derivatives as there are originals."""
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(threads) as pool:
        made = list(pool.map(_derivative, originals))

        def write(number: int) -> Path:
            path = folder / f"{number:05}.jpg"
            path.write_bytes(made[number % len(made)])
            return path

        return list(pool.map(write, range(count)))


def _derivative(path: Path) -> bytes:
    (frame,) = prepare(path.read_bytes(), path.name)
    assert frame.derivative is not None, frame.refused
    return frame.derivative


def read(job: tuple[str, str, int, float]) -> Pixels | str:
    """`(way, path, size, crop)`: the network's input of a derivative, of an original by way of its derivative, or by
    the shortest way; or the scaled decode of an original alone, whose pixels are thrown away."""
    way, path, size, crop = job
    if way == "derivative":
        return to_input(decode(Path(path).read_bytes()), size, crop)
    if way == "original":
        return to_input(decode(_derivative(Path(path))), size, crop)
    frame = next(iter(open_source(Path(path).read_bytes()).frames(DECODED_SIDE)))
    if way == "short":
        return to_input(frame.display(), size, crop)
    frame.display()
    return "decoded"


def stages(derivative: Path, original: Path, size: int, seconds: float = 0.4) -> dict[str, float]:
    """Milliseconds of one core that each step takes, alone, the mean of as many as fit."""
    from time import perf_counter

    def mean(step: object, *given: object) -> float:
        done, start = 0, perf_counter()
        while perf_counter() - start < seconds / 4:
            step(*given)  # type: ignore[operator]
            done += 1
        return round((perf_counter() - start) / done * 1000, 3)

    data = derivative.read_bytes()
    pixels = decode(data)
    large = original.read_bytes()

    def scaled() -> Pixels:
        return next(iter(open_source(large).frames(DECODED_SIDE))).display()

    def whole() -> BytesIO | None:
        list(prepare(large))
        return None

    return {
        "read derivative": mean(derivative.read_bytes),
        "decode derivative": mean(decode, data),
        "resize and stretch": mean(to_input, pixels, size),
        "scaled decode of an original": mean(scaled),
        "original to derivative, all steps": mean(whole),
    }
