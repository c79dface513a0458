"""A step of training on the processor: with PyTorch's own depthwise gradients and with ours, and memory kept or not.

    python -m bench.training [--quick] [--backbone NAME] [--json FILE]

One thread, the shipped recipe's network and size, 32 pictures of noise, in turn. Each way runs in a process of its
own, since what is asked of the C library cannot be taken back. `times` is the plain step over ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

WAYS = {"plain": (False, False), "gradients": (True, False), "both": (True, True)}
BATCH = 32


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.training")
    options.add_argument("--quick", action="store_true", help="three rounds of three steps, not five of ten")
    options.add_argument("--backbone", help="any timm network; otherwise the shipped recipe's")
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    told = options.parse_args()
    if told.way:
        print(step_seconds(*WAYS[told.way], told.steps, told.backbone))
        return
    rounds, steps = (3, 3) if told.quick else (5, 10)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, took in seconds.items():
            command = [sys.executable, "-m", "bench.training", "--way", way, "--steps", str(steps)]
            command += ["--backbone", told.backbone] if told.backbone else []
            took.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {way: statistics.median(took) for way, took in seconds.items()}
    report = {
        "seconds": {way: round(value, 3) for way, value in medians.items()},
        "images_s": {way: round(BATCH / value, 1) for way, value in medians.items()},
        "times": round(medians["plain"] / medians["both"], 2),
    }
    table = Table("way", "seconds a step", "images a second")
    for way in WAYS:
        table.add_row(way, f"{report['seconds'][way]:.3f}", f"{report['images_s'][way]:.1f}")  # type: ignore[index]
    Console().print(table)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def step_seconds(quick: bool, kept: bool, steps: int, backbone: str | None) -> float:
    """The median of a step forward and backward, after one that is not counted."""
    import torch

    from cxrscreen.imaging.memory import MOST, keep_freed
    from models.learning.depthwise import QuickDepthwise
    from models.learning.loop import autocast
    from models.learning.recipes import RECIPES
    from models.transfer import Network, channels_last

    if kept:
        keep_freed(MOST)
    torch.set_num_threads(1)
    recipe = RECIPES["best"]
    network = channels_last(Network(backbone or recipe.backbone, 3)).train()
    x = torch.rand(BATCH, 1, recipe.size, recipe.size)
    took = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        with QuickDepthwise() if quick else nullcontext(), autocast(torch.device("cpu")):
            answers = network(x).float()
        ((answers - torch.arange(3)) ** 2).sum().backward()  # type: ignore[no-untyped-call]
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:])


if __name__ == "__main__":
    main()
