"""How many derivatives a second threads and processes read for the network, by how many there are of them.

    python -m bench.feeding [--counts 1,2,4,8,16] [--size N] [--seconds S] [--json FILE]

Each of them decodes, resizes and stretches, handed over as a screening worker hands over (worker.decoders). `of ideal`
is what one thread reads, times the readers or the cores, whichever are fewer. Beside threads a loop of pure Python
counts in this process: `lock free` is how fast it goes, against alone, where there are cores for all of them; 1.0 would
mean that nobody else ever held the interpreter's lock. `switches` are the times that a thread had to sleep for each
picture, for that lock or for something to do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from worker import decoders

CORES = os.cpu_count() or 2


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.feeding")
    options.add_argument("--counts", help="readers; without it 1, 2, 4 and so on up to the cores, and 8 threads")
    options.add_argument("--size", type=int, default=224, help="pixels a side of the network's input")
    options.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options.add_argument("--json", type=Path, metavar="FILE")
    told = options.parse_args()
    doubled = {2**step for step in range(CORES.bit_length()) if 2**step <= CORES}
    counts = [int(one) for one in told.counts.split(",")] if told.counts else sorted({*doubled, 8, CORES})
    rows = measure(counts, told.size, told.seconds)
    table = Table("readers", "pictures a second", "of ideal", "lock free", "switches", title=f"{CORES} cores")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("readers", "rate", "of_ideal", "lock_free", "switches")))
    Console().print(table)
    if told.json:
        told.json.write_text(json.dumps({"cores": CORES, "rows": rows}, indent=2) + "\n")


def measure(counts: list[int], size: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each number of threads, and of processes."""
    alone = spin(lambda: time.sleep(seconds))
    one = decoders.rate("threads", 1, size, seconds)
    rows = []
    for kind in ("threads", "processes"):
        for count in counts:
            slept = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            rate = decoders.rate(kind, count, size, seconds)
            slept = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - slept
            row: dict[str, Any] = {"readers": f"{count} {kind}", "rate": round(rate)}
            row["of_ideal"] = round(rate / (one * min(count, CORES)), 2)
            free = spin(lambda n=count: decoders.rate("threads", n, size, seconds)) if kind == "threads" else None  # type: ignore[misc]
            row["lock_free"] = "" if free is None else round(free / alone, 2)
            row["switches"] = round(slept / (rate * seconds), 1)
            rows.append(row)
    return rows


def spin(work: Callable[[], object]) -> float:
    """Steps a second of a loop that only counts, while `work` runs in this process."""
    steps, done = 0, threading.Event()

    def count() -> None:
        nonlocal steps
        while not done.is_set():
            for _ in range(1000):
                steps += 1

    thread = threading.Thread(target=count)
    start = time.perf_counter()
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return steps / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
