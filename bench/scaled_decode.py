"""What decoding a large picture at a fraction does to the shipped model's scores, beside decoding the whole of it.

    python -m bench.scaled_decode DATA [--kind jpeg|dicom|j2k] [--every N] [--json FILE]

DATA is the folder of real radiographs (`$CXRSCREEN_TEST_DATA/cxr/images`). None of them is large, so every fifth is
enlarged first, until its shorter side has 1400 and 2048 pixels. `dicom` are uncompressed 12-bit files: there the two
ways differ in nothing but when the mean of a square is rounded to a grey. `j2k` are the same in lossless JPEG 2000.
Beside each stands what noise of one grey up or down in the 512-pixel picture does: how restless the model itself is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.corpus import compressed
from cxrscreen.imaging import decode
from cxrscreen.imaging.derivative import encode
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.imaging.prepare import DECODED_SIDE
from cxrscreen.imaging.read import open_source
from models import bundle

SHIPPED = Path(bundle.__file__).parent / "bundles" / "cxr-open-4"
EVERY = 5
SIDES = (1400, 2048)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.scaled_decode")
    options.add_argument("data", type=Path, help="a folder of radiographs")
    options.add_argument("--kind", choices=KINDS, default="jpeg")
    options.add_argument("--every", type=int, default=EVERY, metavar="N", help="take every N-th radiograph")
    options.add_argument("--json", type=Path, metavar="FILE")
    told = options.parse_args()
    screener = bundle.load(SHIPPED)
    files = sorted(told.data.iterdir())[:: told.every]
    report: dict[str, dict[str, Any]] = {}
    for side in SIDES:
        report[str(side)], report[f"{side}, one grey of noise"] = compare(screener, files, side, KINDS[told.kind])
    table = Table("shorter side", "pictures", "median", "95th percentile", "largest", "over 0.01", "flags changed")
    for side, found in report.items():
        table.add_row(side, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in found.values()))
    Console().print(table)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def compare(
    screener: bundle.Screener, files: list[Path], side: int, write: Callable[[Image.Image], bytes]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How far the scores of the two ways lie apart; and those of whole pictures with and without noise."""
    seen: dict[int | None, list[Any]] = {DECODED_SIDE: [], None: []}
    for path in files:  # one large picture in memory at a time
        data = write(enlarged(path, side))
        for most, pictures in seen.items():
            pictures.append(decode(encode(next(open_source(data).frames(most)).display())))
    chance = np.random.default_rng(0)
    noisy = [
        np.clip(picture.astype(np.int16) + chance.integers(-1, 2, picture.shape), 0, 255).astype(np.uint8)
        for picture in seen[None]
    ]
    whole = screener.predict(seen[None]).score
    threshold = screener.record["threshold"]
    return (
        apart(screener.predict(seen[DECODED_SIDE]).score, whole, threshold),
        apart(screener.predict(noisy).score, whole, threshold),
    )


def apart(one: Any, other: Any, threshold: float) -> dict[str, Any]:
    """What lies between two rows of scores."""
    between = np.abs(one - other)
    return {
        "pictures": len(between),
        "median": float(np.median(between)),
        "p95": float(np.quantile(between, 0.95)),
        "largest": float(between.max()),
        "over_0.01": int((between > 0.01).sum()),
        "flags_changed": int(((one >= threshold) != (other >= threshold)).sum()),
    }


def enlarged(path: Path, side: int) -> Image.Image:
    """The picture in grey, its shorter side of `side` pixels."""
    with Image.open(path) as opened:
        grey = opened.convert("L")
    scale = side / min(grey.size)
    return grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


def _dicom(image: Image.Image) -> bytes:
    """12 bits: the greys, and below them the noise that a detector has."""
    noise = np.random.default_rng(0).integers(0, 16, (image.height, image.width), dtype=np.uint16)
    return dicom_bytes(np.asarray(image, np.uint16) * 16 + noise, 1, 1, inverted=False)


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": _jpeg,
    "dicom": _dicom,
    "j2k": lambda image: compressed(_dicom(image)),
}


if __name__ == "__main__":
    main()
