"""The measuring of bench.gpu: each way gets a second or so, the ones that matter most first, and all end in time."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import gpu_files
from bench.gpu_feed import Feed
from bench.gpu_nvjpeg import CardDecoder
from models import bundle
from models._torchvision import timm
from models.device import pick_device
from models.running.card import PIECES, CardEngine, HalfPass
from models.running.engine import AGREE_HALF, Engine, TorchEngine
from models.running.passes import Pass
from models.transfer import Network

CORES = os.cpu_count() or 2
Job = tuple[str, str, int, float]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.gpu")
    options.add_argument("--quick", action="store_true", help="few files, a fraction of a second each")
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--device", default="auto")
    options.add_argument("--bundle", type=Path, metavar="FOLDER", help="default: the one in models/bundles")
    options.add_argument("--other", default="resnet50", metavar="NETWORK", help="a second network, of 224 pixels")
    options.add_argument("--seconds", type=float, default=50, help="what is not begun by then is left out")
    told = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="cxrscreen-gpu-") as name:
        run = Run(Path(name), told)
        try:
            run.all()
        finally:
            if told.json:
                told.json.write_text(json.dumps(run.report, indent=2) + "\n")


class Run:
    def __init__(self, folder: Path, told: argparse.Namespace) -> None:
        self.end = time.monotonic() + told.seconds
        self.told, self.folder = told, folder
        self.each = 0.15 if told.quick else 1.0
        self.count = 16 if told.quick else 256
        self.device = pick_device(told.device)
        # A processor is here to try the program, not to be measured.
        self.pieces = PIECES if self.device.type == "cuda" else (self.count,)
        found = sorted(Path("models/bundles").glob("*/bundle.json"))
        self.bundle = told.bundle or found[-1].parent
        self.rates: dict[str, float] = {}
        self.report: dict[str, Any] = {
            "command": "python -m bench.gpu" + (" --quick" if told.quick else ""),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "cores": CORES,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "rates": self.rates,
            "left_out": [],
        }

    def all(self) -> None:
        """The ways in the order of what they are worth."""
        threads = max(1, min(16, CORES))
        self.originals = gpu_files.write_originals(self.folder / "originals", self.count, threads)
        self.derivatives = gpu_files.write_derivatives(
            self.folder / "derivatives", self.originals, 16 * self.count, threads
        )
        self.say("files written")
        self.screener = bundle.load(self.bundle, device=str(self.device))
        self.size = self.screener.size
        self.part("network", self.network)
        self.part("stages", self.stages)
        self.part("derivatives, threads", lambda: self.from_disk("derivative", "b threads", threads=threads))
        self.part("decode bound, threads", lambda: self.from_disk("decode", "c decode bound threads", threads=threads))
        self.part("originals, threads", lambda: self.from_disk("original", "c threads", threads=threads))
        self.part("processes", lambda: self.processes(threads))
        self.part("nvjpeg", self.nvjpeg)
        self.part("short way", lambda: self.from_disk("short", "c short threads", threads=threads))
        for fewer in (1, 2, 4, 8):
            if fewer < threads:
                self.part(f"derivatives, {fewer}", lambda n=fewer: self.from_disk("derivative", "b threads", threads=n))  # type: ignore[misc]
        self.part("another network", self.another)
        self.part("fewer processes", lambda: self.processes(max(1, threads // 2)))
        self.ratios()

    def part(self, name: str, run: Callable[[], None]) -> None:
        """One way; one that fails or comes too late is named and costs the others nothing."""
        if time.monotonic() > self.end:
            self.report["left_out"].append(f"{name}: no time")
            return
        try:
            run()
        except Exception as error:
            self.report["left_out"].append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            self.say(self.report["left_out"][-1])

    def say(self, line: str) -> None:
        print(f"{self.end - time.monotonic():6.1f} s left  {line}", flush=True)

    def note(self, name: str, rate: float) -> None:
        self.rates[name] = round(rate, 1)
        self.say(f"{name}: {rate:,.1f} images/s")

    def network(self) -> None:
        """The network on data that lies on the card, step by step and as graphs; which agrees with 32 bits."""
        pictures = torch.from_numpy(np.stack([gpu_files.read(("derivative", str(p), self.size, self.screener.crop))
                                              for p in self.derivatives[: self.count]])[:, None])  # fmt: skip
        whole = self.screener.whole
        self.pictures = pictures
        self.truth = self.screener.predict_inputs(pictures)
        with torch.inference_mode():
            lies = pictures.to(self.device)
            self.note("a torch, step by step", self.rate(lambda: whole(lies), len(lies)))
        engines = {"card": lambda: self.engine(whole), "half": lambda: self.engine(HalfPass(whole))}
        self.report["apart"] = {}
        best: Engine = TorchEngine(whole)
        for name, make in engines.items():
            engine = make()
            said = self.apart(name, engine)
            self.note(f"a {name}", self.resident(engine))
            self.note(f"a {name}, from host memory", self.rate(lambda e=engine: e(pictures), len(pictures)))  # type: ignore[misc]
            if name == "half":
                planes = HalfPass(whole)
                planes.network.to(memory_format=torch.contiguous_format)
                self.note("a half, channels not last", self.resident(self.engine(planes)))
            graph = engine.slot(engine.chunk).graph is not None
            self.report["apart"][name] = said | {"graph": graph, "piece": engine.chunk}
            if said["score"] <= AGREE_HALF:
                best = engine
        self.screener.engine = best
        self.report["engine"] = best.name
        name = "a screener, from host memory"
        self.note(name, self.rate(lambda: self.screener.predict_inputs(pictures), len(pictures)))

    def engine(self, whole: Pass) -> CardEngine:
        return CardEngine(whole, self.size, self.pieces)

    def apart(self, name: str, engine: Engine) -> dict[str, Any]:
        """How far scores and distances lie from PyTorch's in 32 bits, and how many answers differ."""
        self.screener.engine = engine
        said = self.screener.predict_inputs(self.pictures)
        found: dict[str, Any] = {"score": float(np.abs(said.score - self.truth.score).max())}
        threshold = float(self.screener.record["threshold"])
        found["flags"] = int(((said.score >= threshold) != (self.truth.score >= threshold)).sum())
        if said.distance is not None and self.truth.distance is not None:
            found["distance"] = float(np.abs(said.distance - self.truth.distance).max())
        self.say(f"{name}: apart by {found}")
        return found

    def resident(self, engine: CardEngine) -> float:
        slot = engine.slot(engine.chunk)
        with torch.inference_mode():
            return self.rate(slot.compute, engine.chunk)

    def rate(self, step: Callable[[], Any], count: int) -> float:
        """Images a second of a step on `count` of them: the median of three stretches after one step to warm up."""
        step()
        found = []
        for _ in range(3):
            self.settle()
            start, done = time.perf_counter(), 0
            while not done or time.perf_counter() - start < self.each / 3:
                step()
                done += count
                if done % (8 * count) == 0:
                    self.settle()  # else launches run ahead of what is computed
            self.settle()
            found.append(done / (time.perf_counter() - start))
        return sorted(found)[1]

    def settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def stages(self) -> None:
        self.report["core_ms"] = gpu_files.stages(self.derivatives[0], self.originals[0], self.size, self.each)
        self.say(f"core-milliseconds: {self.report['core_ms']}")

    def from_disk(self, way: str, name: str, *, threads: int) -> None:
        with Feed(gpu_files.read, self.size, threads=threads, count=self.chunk(), depth=3) as feed:
            self.note(f"{name} {threads}", self.feed(feed, way))

    def processes(self, count: int) -> None:
        with Feed(gpu_files.read, self.size, processes=count, count=self.chunk(), depth=4) as feed:
            for way, name in (
                ("derivative", "b"),
                ("decode", "c decode bound"),
                ("original", "c"),
                ("short", "c short"),
            ):
                if time.monotonic() < self.end:
                    self.note(f"{name} processes {count}", self.feed(feed, way))

    def chunk(self) -> int:
        return min(self.count, self.screener.engine.chunk)

    def feed(self, feed: Feed[Job], way: str) -> float:
        """Images a second from files to scores; a chunk or two go before the clock."""
        files = self.derivatives if way == "derivative" else self.originals
        jobs: Iterator[Job] = ((way, str(path), self.size, self.screener.crop) for path in cycle(files))
        list(feed.chunks(islice(jobs, self.chunk())))
        start, done = 0.0, 0
        for chunk in feed.chunks(jobs):
            if way != "decode":
                self.screener.predict_inputs(torch.from_numpy(chunk.inputs[:, None]))
            if start:
                done += len(chunk.items)
            else:
                start = time.perf_counter()
            if done and time.perf_counter() - start > self.each:
                break
        return done / (time.perf_counter() - start)

    def nvjpeg(self) -> None:
        """Derivatives decoded on the card; threads only read the files."""
        decoder = CardDecoder(self.size, self.screener.crop, self.device)
        data = [path.read_bytes() for path in self.derivatives[: self.count]]
        inputs = decoder(data)
        greys = (inputs.cpu().int() - self.pictures[: len(data)].int()).abs()
        said = self.screener.predict_inputs(inputs)
        self.report["apart"]["nvjpeg"] = {
            "grey": int(greys.max()),
            "mean grey": float(greys.float().mean()),
            "score": float(np.abs(said.score - self.truth.score).max()),
        }
        self.note("nvjpeg alone", self.rate(lambda: decoder(data), len(data)))
        self.note("b nvjpeg", self.rate(lambda: self.screener.predict_inputs(decoder(data)), len(data)))
        large = [path.read_bytes() for path in self.originals[: min(64, self.count)]]
        self.note("c nvjpeg, short", self.rate(lambda: self.screener.predict_inputs(decoder(large)), len(large)))

    def another(self) -> None:
        """A heavier network, whose weights are drawn: its arithmetic is that of any other."""
        timm.is_model(self.told.other)
        network = Network(self.told.other, len(self.screener.record["subclasses"])).to(self.device)
        record = self.screener.record | {"backbone": self.told.other, "input_size": 224, "distance_limit": None}
        self.screener = bundle.Screener(record, network, None)
        self.size = 224
        engine = self.engine(HalfPass(self.screener.whole))
        self.screener.engine = engine
        self.note(f"a {self.told.other}", self.resident(engine))
        self.from_disk("derivative", f"b {self.told.other} threads", threads=max(1, min(16, CORES)))
        if self.device.type == "cuda":
            decoder = CardDecoder(self.size, self.screener.crop, self.device)
            data = [path.read_bytes() for path in self.derivatives[: self.count]]
            rate = self.rate(lambda: self.screener.predict_inputs(decoder(data)), len(data))
            self.note(f"b {self.told.other} nvjpeg", rate)

    def ratios(self) -> None:
        other = self.told.other
        lying = max(self.rates.get("a half", 0.0), self.rates.get("a card", 0.0))
        decode = self.best("c decode bound")
        pairs = {
            "b_to_a": (self.best("b ", other), lying),
            "b_to_a_threads": (self.best("b threads"), lying),
            f"b_to_a_{other}": (self.best(f"b {other}"), self.best(f"a {other}")),
            "c_to_bound": (self.best("c ", "bound", "short", "nvjpeg"), decode),
            "c_short_to_bound": (self.best("c short"), decode),
        }
        self.report["ratios"] = {name: round(one / of, 3) for name, (one, of) in pairs.items() if one and of}
        self.say(f"ratios: {self.report['ratios']}")

    def best(self, start: str, *without: str) -> float:
        """The highest rate of the ways whose name begins so; 0 where there is none."""
        found = [r for n, r in self.rates.items() if n.startswith(start) and not any(w in n for w in without)]
        return max(found, default=0.0)


if __name__ == "__main__":
    main()
