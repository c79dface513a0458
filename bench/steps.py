"""Where the core-milliseconds of an image go: each step of its way alone, by processor time, on one thread.

    python -m bench.steps [--kind jpeg|png|dicom|j2k] [--files N]

The clock stands while others have the core, so a busy machine disturbs little. The network is timed with its threads.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.corpus import make_bundle, write_corpus
from bench.throughput import BACKBONE, SIZE
from bench.ways import CORES
from cxrscreen import blobs
from cxrscreen.imaging import decode, encode, gate, prepare
from cxrscreen.imaging.prepare import DECODED_SIDE
from cxrscreen.imaging.read import open_source
from models import bundle
from models.inputs import to_input

KINDS = ("jpeg", "png", "dicom", "j2k")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.steps")
    options.add_argument("--kind", choices=KINDS, action="append", help="several may be named; all without it")
    options.add_argument("--files", type=int, default=16, metavar="N")
    told = options.parse_args()
    kinds = told.kind or list(KINDS)
    with tempfile.TemporaryDirectory(prefix="cxrscreen-bench-") as name:
        corpus = write_corpus(Path(name) / "corpus", dict.fromkeys(kinds, told.files))
        found = {kind: steps(files, blobs.Blobs(f"file://{name}/{kind}")) for kind, files in corpus.items()}
        screener = bundle.load(make_bundle(Path(name) / "trained", BACKBONE, SIZE, 1))
    screener.quicken("auto", CORES, CORES)
    inputs = torch.randint(0, 256, (128, 1, SIZE, SIZE), dtype=torch.uint8)
    network = best(lambda _: screener.predict_inputs(inputs), [None], time.process_time) / len(inputs)
    table = Table("core-milliseconds", *kinds)
    for step in found[kinds[0]]:
        table.add_row(step, *(f"{found[kind][step]:.2f}" for kind in kinds))
    table.add_row(f"the network ({screener.engine.name})", *[f"{network:.2f}"] * len(kinds))
    Console().print(table)


def steps(files: Sequence[Path], store: blobs.Blobs) -> dict[str, float]:
    """Core-milliseconds of an image for each step; a step's work may hold that of the step above it."""

    def first(data: bytes) -> Any:
        return next(iter(open_source(data).frames(DECODED_SIDE)))

    whole = [path.read_bytes() for path in files]
    frames = [first(data) for data in whole]
    shown = [frame.display() for frame in frames]
    small = [encode(display) for display in shown]
    seen = [decode(data) for data in small]
    names = [hashlib.sha256(data).hexdigest() for data in whole]
    return {
        "read": best(Path.read_bytes, files),
        "hash": best(lambda data: hashlib.sha256(data).hexdigest(), whole),
        "open, damage, decode": best(first, whole),
        "gate": best(lambda pair: gate.check_pixels(*pair), list(zip(frames, shown, strict=True))),
        "encode the derivative": best(encode, shown),
        "all of the ingest's imaging": best(lambda data: list(prepare(data)), whole),
        # Once: what is there already is not written again.
        "store the original": best(
            lambda pair: store.put("originals", pair[0], sha256=pair[1]), list(zip(whole, names, strict=True)), times=1
        ),
        "store the derivative": best(lambda data: store.put("derivatives", data, durable=False), small, times=1),
        "decode the derivative": best(decode, small),
        "resize and stretch": best(lambda pixels: to_input(pixels, SIZE), seen),
    }


def best(
    work: Callable[[Any], object],
    items: Sequence[Any],
    clock: Callable[[], float] = time.thread_time,
    times: int = 3,
) -> float:
    """Milliseconds an item, the best of so many times."""
    took = []
    for _ in range(times):
        start = clock()
        for item in items:
            work(item)
        took.append(clock() - start)
    return 1000 * float(np.min(took)) / len(items)


if __name__ == "__main__":
    main()
