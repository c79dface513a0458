"""Images a second: the bound of the machine, the best bare loop, the whole system, rescreening, and others' ways.

    python -m bench.throughput [--quick] [--features] [--rounds N] [--json FILE]

The ways take turns, round by round, on one corpus of phantoms; every round of the system begins with an empty
database and store. `bound` is what decoding and the network would reach one after the other on all cores. Starting the
stack and loading the network are not counted, since they happen once a night: a small job goes before the clock.

`features` is rescreening by a new head over the network that saw the archive: stored features answer, no pixel is read.
Before, the archive is grown to thousands of images (rows only), since a few hundred are answered within a blink.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench import ways
from bench.corpus import altered, make_bundle, write_corpus
from cxrscreen.imaging import decode, prepare
from models import bundle
from models.images import to_input

BACKBONE, SIZE = "mobilenetv3_large_100", 224
FULL = {"jpeg": 1500, "dicom": 200, "j2k": 100, "png": 400}
QUICK = {"jpeg": 256, "dicom": 32, "j2k": 12, "png": 64}
# An archive is grown to so many images before a new head answers for it: that takes about as long as a first screening.
GROWN = {True: 10_000, False: 40_000}
# Of the slow ways a part of the JPEG files is enough for a rate.
SLOW = {"timm": 4, "torchxrayvision": 8}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.throughput")
    options.add_argument("--quick", action="store_true", help="a smaller corpus and three rounds, under five minutes")
    options.add_argument("--features", action="store_true", help="only the system, first and from stored features")
    options.add_argument("--rounds", type=int, help="other than 3 with --quick and 5 without")
    options.add_argument("--json", type=Path, metavar="FILE")
    told = options.parse_args()
    counts, rounds = (QUICK, told.rounds or 3) if told.quick else (FULL, told.rounds or 5)
    if told.features:
        counts = {"jpeg": counts["jpeg"] // 2, "png": 8}
    with tempfile.TemporaryDirectory(prefix="cxrscreen-bench-") as name:
        folder = Path(name)
        corpus = write_corpus(folder / "corpus", counts)
        trained = make_bundle(folder / "trained", BACKBONE, SIZE, 1)
        bundles = [trained, *(altered(trained, folder / part, part) for part in ("backbone", "head"))]
        report = Bench(folder, corpus, bundles, GROWN[told.quick]).run(rounds, told.features)
    show(report)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


class Bench:
    def __init__(self, folder: Path, corpus: dict[str, list[Path]], bundles: list[Path], grown: int) -> None:
        self.folder, self.corpus, self.grown = folder, corpus, grown
        self.trained, self.backbone, self.head = bundles
        self.jpeg = corpus["jpeg"]
        self.screener = bundle.load(self.trained)
        self.screener.quicken("auto", ways.CORES, ways.CORES)
        first = [next(iter(prepare(path.read_bytes()))).derivative or b"" for path in self.jpeg]
        inputs = np.stack([to_input(decode(data), SIZE) for data in first])
        self.inputs = torch.from_numpy(inputs[:, None])
        self.seconds: dict[str, list[float]] = {}
        self.counts: dict[str, int] = {}
        self.apart = 0.0
        self.peaks: dict[str, int] = {}
        self.bare_core_ms: list[float] = []

    def run(self, rounds: int, features: bool) -> dict[str, Any]:
        turns: list[Callable[[Path], object]] = [self._parts, self._bare_and_system, self._others]
        if features:
            turns = [self._system]
        for number in range(rounds):
            for turn in turns:
                turn(self.folder / f"round{number}")
            shutil.rmtree(self.folder / f"round{number}")
        for part, files in self.corpus.items():
            if part != "jpeg" and not features:
                self._kind(part, files)
        return self._report(rounds)

    def _time(self, way: str, count: int, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        said = run()
        self._note(way, count, time.perf_counter() - start)
        return said

    def _note(self, way: str, count: int, seconds: float) -> None:
        self.seconds.setdefault(way, []).append(seconds)
        self.counts[way] = count

    def _parts(self, _: Path) -> None:
        count = len(self.jpeg)
        self._time("decode", count, lambda: ways.decode_alone(self.jpeg))
        self._time("inference", count, lambda: ways.inference_alone(self.screener, self.inputs))

    def _bare_and_system(self, room: Path) -> None:
        count = len(self.jpeg)
        before = time.process_time()
        scores = self._time("bare", count, lambda: ways.bare(self.screener, self.jpeg, room / "bare"))
        self.bare_core_ms.append(1000 * (time.process_time() - before) / count)
        said = self._system(room)
        # The system gives no score to what lies far from its model's training; the bare loop has no such gate.
        assert said and said.keys() <= scores.keys(), "the bare loop and the system scored different files"
        self.apart = max(self.apart, *(abs(said[name] - scores[name]) for name in said))

    def _system(self, room: Path) -> dict[str, float]:
        count = len(self.jpeg)
        warm = room / "warm"
        warm.mkdir(parents=True)
        for path in self.corpus["png"][:8]:
            shutil.copy(path, warm)
        with ways.System(room / "system") as system:
            for version in (self.backbone, self.trained):
                system.screen(warm, version)
            self._note("system", count, system.screen(self.jpeg[0].parent, self.trained))
            said = system.scores()
            self._note("rescreen", count, system.rescreen(self.backbone))
            system.screen(warm, self.head)
            new = system.grow(self.grown, self.head) - len(list(warm.iterdir()))
            self._note("features", new, system.rescreen(self.head))
            for role, peak in system.peaks_mb().items():
                self.peaks[role] = max(peak, self.peaks.get(role, 0))
        return said

    def _others(self, _: Path) -> None:
        fewer = self.jpeg[: max(32, len(self.jpeg) // SLOW["timm"])]
        self._time("timm", len(fewer), lambda: ways.timm_way(BACKBONE, fewer))
        fewer = self.jpeg[: max(16, len(self.jpeg) // SLOW["torchxrayvision"])]
        self._time("torchxrayvision", len(fewer), lambda: ways.torchxrayvision_way(BACKBONE, fewer, SIZE))

    def _kind(self, part: str, files: list[Path]) -> None:
        """One round over files of another kind: the decoder alone, and the system."""
        self._time(f"decode {part}", len(files), lambda: ways.decode_alone(files))
        room = self.folder / part
        with ways.System(room) as system:
            system.screen(room.parent / "corpus" / ("png" if part != "png" else "dicom"), self.trained)
            self._note(f"system {part}", len(files), system.screen(files[0].parent, self.trained))
        shutil.rmtree(room)

    def _spent(self, rates: dict[str, float]) -> dict[str, float]:
        """What an image costs the bare loop in processor time, and how busy that keeps the cores."""
        if not self.bare_core_ms:
            return {}
        spent = statistics.median(self.bare_core_ms)
        return {"core_ms": round(spent, 2), "busy": round(spent * rates["bare"] / 1000 / ways.CORES, 3)}

    def _report(self, rounds: int) -> dict[str, Any]:
        rates = {way: self.counts[way] / statistics.median(took) for way, took in self.seconds.items()}
        if "decode" in rates:
            rates["bound"] = 1 / (1 / rates["decode"] + 1 / rates["inference"])
        pairs = {
            "bare_to_bound": ("bare", "bound"),
            "system_to_bare": ("system", "bare"),
            "system_to_timm": ("system", "timm"),
            "system_to_torchxrayvision": ("system", "torchxrayvision"),
            "rescreen_to_inference": ("rescreen", "inference"),
            "features_to_first": ("features", "system"),
        }
        return {
            "files": {part: len(files) for part, files in self.corpus.items()},
            "rounds": rounds,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "engine": self.screener.engine.name,
            "rates": {way: round(rate, 2) for way, rate in rates.items()},
            "core_seconds_per_image": round(ways.CORES / rates["system"], 5),
            "bare": self._spent(rates),
            "ratios": {
                name: round(rates[one] / rates[other], 3)
                for name, (one, other) in pairs.items()
                if one in rates and other in rates
            },
            "scores_apart": self.apart,
            "peak_mb": self.peaks,
        }


def show(report: dict[str, Any]) -> None:
    console = Console()
    files = report["files"]
    table = Table(
        "way", "images a second", title=f"{files['jpeg']} JPEG files of 2048 x 2048, {report['rounds']} rounds"
    )
    for way, rate in report["rates"].items():
        table.add_row(way, f"{rate:.1f}")
    console.print(table)
    table = Table("ratio", "")
    for name, ratio in report["ratios"].items():
        table.add_row(name, f"{ratio:.2f}")
    console.print(table)
    console.print(
        f"{report['machine']}; engine {report['engine']}; scores of bare loop and system at most "
        f"{report['scores_apart']:.1e} apart; peak memory in MB {report['peak_mb']}"
    )
    if spent := report["bare"]:
        console.print(f"the bare loop: {spent['core_ms']} core-milliseconds an image, cores busy {spent['busy']:.0%}")


if __name__ == "__main__":
    main()
