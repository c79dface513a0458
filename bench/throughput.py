"""Images a second: the parts alone, the best bare loop, the whole system, a rescreening, and timm's way, on one corpus.

    python -m bench.throughput [--quick] [--json FILE]

Every round begins with an empty database and store. The rates of the parts are those of one process; `bound` is what
decoding and inference would reach one after the other on the same threads. Starting the stack is not counted, since it
runs all night.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.corpus import make_bundle, write_jpegs
from cxrscreen import blobs, db, jobs, local, programs, queue, registry, schema
from cxrscreen.imaging import decode, prepare
from cxrscreen.settings import get_settings
from cxrscreen.tables import JobKind, JobState
from models import bundle

BACKBONE, SIZE, BATCH = "mobilenetv3_large_100", 224, 32
DECODERS = 2


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.throughput")
    options.add_argument("--quick", action="store_true", help="a smaller corpus and fewer rounds, under five minutes")
    options.add_argument("--json", type=Path, metavar="FILE")
    told = options.parse_args()
    count, rounds = (192, 3) if told.quick else (1000, 5)
    with tempfile.TemporaryDirectory(prefix="cxrscreen-bench-") as name:
        folder = Path(name)
        corpus = write_jpegs(folder / "corpus", count, 2048)
        bundles = [make_bundle(folder / f"b{seed}", BACKBONE, SIZE, seed) for seed in (1, 2)]
        measured = measure(folder, corpus, bundles, rounds)
    report = summarise(measured, count, rounds)
    show(report)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(folder: Path, corpus: list[Path], bundles: list[Path], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way, round by round, the ways taking turns."""
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    screener = bundle.load(bundles[0])
    derivatives = [next(iter(prepare(path.read_bytes(), path.name))).derivative or b"" for path in corpus]
    ways: dict[str, Callable[[Path], float | tuple[float, float]]] = {
        "decode": lambda _: _timed(lambda: _decode_all(corpus)),
        "inference": lambda _: _timed(lambda: _infer_all(screener, derivatives)),
        "bare": lambda room: _timed(lambda: _bare(screener, corpus, room)),
        "system": lambda room: _system(room, corpus[0].parent, bundles),
        "timm": lambda _: _timed(lambda: _timm(corpus)),
    }
    seconds: dict[str, list[float]] = {}
    for number in range(rounds):
        for way, run in ways.items():
            took = run(folder / f"{way}{number}")
            first, again = took if isinstance(took, tuple) else (took, None)
            seconds.setdefault(way, []).append(first)
            if again is not None:
                seconds.setdefault("rescreen", []).append(again)
    return seconds


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _decode_all(corpus: list[Path]) -> None:
    with ThreadPoolExecutor(DECODERS) as pool:
        list(pool.map(lambda path: list(prepare(path.read_bytes(), path.name)), corpus))


def _infer_all(screener: bundle.Screener, derivatives: list[bytes]) -> None:
    for start in range(0, len(derivatives), BATCH):
        screener.predict([decode(data) for data in derivatives[start : start + BATCH]])


def _bare(screener: bundle.Screener, corpus: list[Path], room: Path) -> None:
    """The best loop without queue and database: hash, decode, store both files, predict; decoding runs ahead."""
    store = blobs.Blobs(f"file://{room}")

    def take(path: Path) -> Any:
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        made = next(iter(prepare(data, path.name))).derivative or b""
        store.put("originals", data)
        store.put("derivatives", made, durable=False)
        return decode(made)

    with ThreadPoolExecutor(DECODERS) as pool:
        groups = [corpus[start : start + BATCH] for start in range(0, len(corpus), BATCH)]
        ahead = [pool.submit(take, path) for path in groups[0]]
        for place in range(len(groups)):
            pixels = [future.result() for future in ahead]
            following = groups[place + 1] if place + 1 < len(groups) else []
            ahead = [pool.submit(take, path) for path in following]
            screener.predict(pixels)


def _system(room: Path, corpus: Path, bundles: list[Path]) -> tuple[float, float]:
    """A job over the folder through the whole embedded stack, then a rescreening with a second version."""
    os.environ |= {"CXRSCREEN_DATA_DIR": str(room), "CXRSCREEN_COPY_FOLDER_FILES": "true"}
    for cached in (get_settings, db.engine_for, blobs.store_at, queue.app_for):
        cached.cache_clear()
    schema.upgrade(db.get_engine())
    stack = local.Stack(get_settings(), programs.WITHOUT_PAGES)
    stack.start()
    try:
        stack.wait_ready()
        time.sleep(8)  # until torch is in the screening worker
        first = _job(JobKind.FOLDER, bundles[0], [{"path": str(corpus), "label": "corpus"}])
        return first, _job(JobKind.RESCREEN, bundles[1], [])
    finally:
        stack.stop()


def _job(kind: JobKind, folder: Path, sources: list[dict[str, Any]]) -> float:
    with db.write() as session:
        version = registry.register(session, blobs.store(), folder)
        job = jobs.create(session, kind, "bench", version.id, sources=sources)
    start = time.perf_counter()
    queue.submit(queue.INGEST, job.id)
    while True:
        with db.read() as session:
            if jobs.get(session, job.id).state == JobState.DONE:
                return time.perf_counter() - start
        time.sleep(0.05)


def _timm(corpus: list[Path]) -> None:
    """As timm's documentation says: PIL, the model's own transform, a DataLoader, one forward pass a batch."""
    import timm
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    model = timm.create_model(BACKBONE, pretrained=False, num_classes=3).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)

    class Files(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(corpus)

        def __getitem__(self, index: int) -> torch.Tensor:
            with Image.open(corpus[index]) as picture:
                made: torch.Tensor = transform(picture.convert("RGB"))
            return made

    with torch.inference_mode():
        for batch in DataLoader(Files(), batch_size=BATCH, num_workers=DECODERS):
            model(batch).softmax(dim=1)


def summarise(seconds: dict[str, list[float]], count: int, rounds: int) -> dict[str, Any]:
    rates = {way: count / statistics.median(took) for way, took in seconds.items()}
    rates["bound"] = 1 / (1 / rates["decode"] + 1 / rates["inference"])
    return {
        "images": count,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "rates": {way: round(rate, 2) for way, rate in rates.items()},
        "ratios": {
            "bare_to_bound": round(rates["bare"] / rates["bound"], 3),
            "system_to_bare": round(rates["system"] / rates["bare"], 3),
            "system_to_timm": round(rates["system"] / rates["timm"], 3),
            "rescreen_to_inference": round(rates["rescreen"] / rates["inference"], 3),
        },
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def show(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(
        "way", "images a second", title=f"{report['images']} JPEG files of 2048 x 2048, {report['rounds']} rounds"
    )
    for way, rate in report["rates"].items():
        table.add_row(way, f"{rate:.1f}")
    console.print(table)
    table = Table("ratio", "")
    for name, ratio in report["ratios"].items():
        table.add_row(name, f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
