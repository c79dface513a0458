"""Damaged DICOM, PNG, JPEG, zip, tar and other files: each is answered, soon, in bounded memory, by the fixed list.

    python -m bench.fuzz [--quick] [--seed N] [--files 20000] [--json FILE]

Files are phantoms in every encoding, archives of them and, where CXRSCREEN_TEST_DATA names them, real DICOM files, each
changed in one to eight places (bench/fuzz_mutations.py). They are read by child processes; one that dies, hangs or
asks for too much memory is a finding and is started again at the next file. A file that took too long is read once
more, as whatever else the machine does may have held it up. Exit status 1 where there are findings. Ctrl-C ends it with
the report so far; several runs, each of a seed of its own, add up.
`python -m bench.fuzz --seed N --only NUMBER --keep FILE` writes the file of a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.fuzz_child import Corpus

HANG_SECONDS = 10.0
# What one file may cost beyond what the decoders take anyway.
MEMORY_MB = 400
START_SECONDS = 600.0


@dataclass
class Report:
    seed: int
    files: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    peak_mb: float = 0.0  # above what the process took before the first file

    def take(self, told: dict[str, Any], base_kb: int) -> None:
        self.files += 1
        self.kinds[told["kind"]] += 1
        self.ends[told["end"] or "trouble"] += 1
        self.slowest = max(self.slowest, told["seconds"])
        grown = (told["peak_kb"] - base_kb) / 1024
        trouble = told["trouble"]
        if grown > MEMORY_MB and grown > self.peak_mb:
            trouble = trouble or f"memory: {grown:,.0f} MB"
        if told["seconds"] > HANG_SECONDS:
            trouble = trouble or f"hang: {told['seconds']:.1f} s"
        self.peak_mb = max(self.peak_mb, grown)
        if trouble:
            self.findings.append({"number": told["number"], "kind": told["kind"], "trouble": trouble})


class Child:
    """A reader process and the numbers it still has to read."""

    def __init__(self, seed: int, numbers: deque[int], folder: Path, data: Path | None) -> None:
        self.arguments = [str(seed), str(folder), *([str(data)] if data else [])]
        self.numbers = numbers
        self.now: int | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "bench.fuzz_child", *self.arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.base_kb = 0
        self.until = time.monotonic() + START_SECONDS

    def hear(self) -> dict[str, Any] | None:
        """The next line; None where the process ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def give(self) -> bool:
        """Send the next number; False where there is none left."""
        assert self.process.stdin is not None
        self.now = self.numbers.popleft() if self.numbers else None
        if self.now is None:
            self.process.stdin.close()
            self.process.wait()
            return False
        self.process.stdin.write(f"{self.now}\n".encode())
        self.process.stdin.flush()
        # The child notes a slow file itself; only one that never ends has to be killed.
        self.until = time.monotonic() + 2 * HANG_SECONDS
        return True

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def run(seed: int, files: int, workers: int, data: Path | None) -> Report:
    report = Report(seed)
    with suppress(KeyboardInterrupt):
        _run(report, files, workers, data)
    return report


def _run(report: Report, files: int, workers: int, data: Path | None) -> None:
    corpus = Corpus(report.seed, data)
    numbers = deque(range(files))
    slow: set[int] = set()

    def once_more(number: int | None) -> bool:
        """Whether a file that took too long is read again, now that it is put behind the others."""
        if number is None or number in slow:
            return False
        slow.add(number)
        numbers.append(number)
        return True

    with tempfile.TemporaryDirectory(prefix="cxrscreen-fuzz-") as name:
        children = []
        for number in range(workers):
            (folder := Path(name, str(number))).mkdir()
            children.append(Child(report.seed, numbers, folder, data))
        while children:
            outputs = {child.process.stdout: child for child in children}
            ready, _, _ = select.select(list(outputs), [], [], 1.0)
            for child in [outputs[output] for output in ready]:
                told = child.hear()
                if told is None:
                    _note(report, corpus, child, f"crash: exit status {child.process.wait()}")
                elif "ready" in told:
                    child.base_kb = told["peak_kb"]
                elif told["seconds"] <= HANG_SECONDS or not once_more(child.now):
                    report.take(told, child.base_kb)
                if told is not None and not child.give():
                    children.remove(child)
            for child in children:
                if time.monotonic() <= child.until:
                    continue
                if once_more(child.now):
                    child.end()
                    child.start()
                else:
                    _note(report, corpus, child, f"hang: over {2 * HANG_SECONDS:.0f} s")


def _note(report: Report, corpus: Corpus, child: Child, trouble: str) -> None:
    if child.now is None:
        raise SystemExit("The reader process does not start.")
    report.files += 1
    report.findings.append({"number": child.now, "kind": corpus.damaged(child.now)[0], "trouble": trouble})
    child.end()
    child.start()


def show(report: Report) -> None:
    table = Table("end", "files", box=None)
    for end, count in report.ends.most_common(40):
        table.add_row(end, f"{count:,}")
    console = Console()
    console.print(table)
    for finding in report.findings:
        console.print(f"{finding['number']}: {finding['kind']}: {finding['trouble']}", markup=False)
    console.print(
        f"{report.files:,} files, seed {report.seed}: {len(report.findings)} findings; "
        f"slowest {report.slowest:.1f} s, at most {report.peak_mb:.0f} MB more than at rest."
    )


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.fuzz")
    options.add_argument("--quick", action="store_true", help="2,000 files, under five minutes")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--files", type=int, default=20_000)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--only", type=int, metavar="NUMBER", help="write the file of this number, read nothing")
    options.add_argument("--keep", type=Path, metavar="FILE")
    told = options.parse_args()
    named = os.environ.get("CXRSCREEN_TEST_DATA")
    data = Path(named) if named else None
    if told.only is not None:
        name, content = Corpus(told.seed, data).damaged(told.only)
        (told.keep or Path(f"{name}.damaged")).write_bytes(content)
        return
    began = time.monotonic()
    report = run(told.seed, 2000 if told.quick else told.files, told.workers, data)
    show(report)
    if told.json:
        figures = {
            "seed": report.seed,
            "files": report.files,
            "findings": report.findings,
            "ends": dict(report.ends),
            "kinds": dict(report.kinds),
            "slowest_seconds": round(report.slowest, 2),
            "peak_mb": round(report.peak_mb),
            "seconds": round(time.monotonic() - began),
        }
        told.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(1 if report.findings else 0)


if __name__ == "__main__":
    main()
