"""What decoding a large JPEG at a fraction does to the shipped model's scores, beside decoding the whole of it.

    python -m bench.scaled_decode DATA [--json FILE]

DATA is the folder of real radiographs (`$CXRSCREEN_TEST_DATA/cxr/images`). None of them is large, so every fifth is
enlarged first, until its shorter side has 1400 and 2048 pixels.
"""

from __future__ import annotations

import argparse
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from cxrscreen.imaging import decode
from cxrscreen.imaging.derivative import encode
from cxrscreen.imaging.prepare import DECODED_SIDE
from cxrscreen.imaging.read import open_source
from models import bundle

SHIPPED = Path(bundle.__file__).parent / "bundles" / "cxr-open-3"
EVERY = 5
SIDES = (1400, 2048)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.scaled_decode")
    options.add_argument("data", type=Path, help="a folder of radiographs")
    options.add_argument("--json", type=Path, metavar="FILE")
    told = options.parse_args()
    screener = bundle.load(SHIPPED)
    report = {str(side): compare(screener, sorted(told.data.iterdir())[::EVERY], side) for side in SIDES}
    table = Table("shorter side", "pictures", "median", "95th percentile", "largest", "over 0.01", "flags changed")
    for side, found in report.items():
        table.add_row(side, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in found.values()))
    Console().print(table)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def compare(screener: bundle.Screener, files: list[Path], side: int) -> dict[str, Any]:
    """How far the scores of the two ways lie apart."""
    large = [enlarged(path, side) for path in files]
    scaled, whole = (
        screener.predict([_derivative(data, most) for data in large]).score for most in (DECODED_SIDE, None)
    )
    apart = np.abs(scaled - whole)
    threshold = screener.record["threshold"]
    return {
        "pictures": len(apart),
        "median": float(np.median(apart)),
        "p95": float(np.quantile(apart, 0.95)),
        "largest": float(apart.max()),
        "over_0.01": int((apart > 0.01).sum()),
        "flags_changed": int(((scaled >= threshold) != (whole >= threshold)).sum()),
    }


def enlarged(path: Path, side: int) -> bytes:
    """The picture as a JPEG whose shorter side has `side` pixels."""
    with Image.open(path) as opened:
        grey = opened.convert("L")
    scale = side / min(grey.size)
    large = grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    large.save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


def _derivative(data: bytes, most: int | None) -> Any:
    return decode(encode(next(open_source(data).frames(most)).display()))


if __name__ == "__main__":
    main()
