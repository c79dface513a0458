"""What more images, more screening processes and more machines bring, on one PostgreSQL and one Redis.

    python -m bench.scaling [--quick] [--only linear,processes,machines] [--json FILE]

`linear`: a first screening of ten times as many images, each time from an empty database and store: how much longer it
takes, and the most memory that the programs have held. The pictures are small, so what is not decoding shows most.
`processes`: rescreening from derivatives by 1, 2 and 4 real screening processes of one thread each, in images a second
between the first quarter of a job and its end.
`machines`: the same queue, leases and rows under 1 to 32 screening machines that only sleep as long as a real one takes
for a batch (`--held`, core-milliseconds an image, as measured by bench.throughput): what they all share is real, what
each has for itself is slept. `postgres_ms` and `worker_ms` are the processor's time an image in PostgreSQL and in what
the workers do around their network; they tell which part is full first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from bench import fleet, ways
from bench.corpus import altered, make_bundle
from bench.fault_rig import forget, train_small, write_pictures
from bench.throughput import BACKBONE, SIZE
from cxrscreen import db, jobs, local
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import Image, JobKind, Result

PARTS = ("linear", "processes", "machines")
LINEAR = {False: 1_000, True: 200}
ROUNDS = {False: 3, True: 1}
ARCHIVE = {False: 3_000, True: 600}
FLEET = {False: 20_000, True: 4_000}
PROCESSES = (1, 2, 4)
MACHINES = {False: (1, 2, 4, 8, 16, 32), True: (1, 4, 16)}
SHARED = ("redis", "ingest", "beat")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.scaling")
    options.add_argument("--quick", action="store_true", help="a fifth of the images and one round, under five minutes")
    options.add_argument("--only", default=",".join(PARTS), help="parts to measure")
    options.add_argument("--held", type=float, default=10.8, help="milliseconds that a sleeping machine takes an image")
    options.add_argument("--json", type=Path, metavar="FILE")
    told = options.parse_args()
    parts = told.only.split(",")
    report: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="cxrscreen-bench-") as name:
        room = Path(name)
        if "linear" in parts:
            report["linear"] = linear(room / "linear", LINEAR[told.quick], ROUNDS[told.quick])
        if "processes" in parts or "machines" in parts:
            with Shared(room / "shared") as shared:
                if "processes" in parts:
                    shared.grow(ARCHIVE[told.quick])
                    report["processes"] = {number: shared.processes(number) for number in PROCESSES}
                if "machines" in parts:
                    shared.grow(FLEET[told.quick])
                    report["held_ms"] = told.held
                    report["machines"] = [shared.machines(n, told.held / 1000) for n in MACHINES[told.quick]]
    show(report)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def linear(room: Path, count: int, rounds: int) -> dict[str, Any]:
    """Seconds of `count` images and of ten times as many, in turn, and peak memory of each."""
    version = train_small(room / "model")
    folders = {number: write_pictures(room / f"pictures{number}", number, seed=1) for number in (count, 10 * count)}
    warm = write_pictures(room / "warm", 8, seed=500)
    seconds: dict[int, list[float]] = {number: [] for number in folders}
    peaks: dict[int, dict[str, int]] = {}
    for turn in range(rounds):
        for number, folder in folders.items():
            with (
                fleet.postgres(room / f"postgres{turn}-{number}") as (url, _),
                environment("DATABASE_URL", url),
                ways.System(room / f"system{turn}-{number}") as system,
            ):
                system.screen(warm, version)
                seconds[number].append(system.screen(folder, version))
                peaks[number] = system.peaks_mb()
    took = {number: statistics.median(times) for number, times in seconds.items()}
    return {
        "images": [count, 10 * count],
        "seconds": [round(value, 2) for value in took.values()],
        "ratio": round(took[10 * count] / took[count], 2),
        "peak_mb": list(peaks.values()),
    }


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A setting of the programs, here and in every child, until the block ends."""
    os.environ[f"CXRSCREEN_{name}"] = value
    forget()
    try:
        yield
    finally:
        del os.environ[f"CXRSCREEN_{name}"]
        forget()


class Shared:
    """What screening machines share: database, broker, store, ingest; an archive to rescreen, version after version."""

    def __init__(self, room: Path) -> None:
        self.room = room
        self.version = make_bundle(room / "trained", BACKBONE, SIZE, 1)
        self.changed = 0
        self.held = ExitStack()

    def __enter__(self) -> Shared:
        with ExitStack() as held:
            url, self.postmaster = held.enter_context(fleet.postgres(self.room / "postgres"))
            held.enter_context(environment("DATABASE_URL", url))
            held.enter_context(environment("PSEUDONYM_KEY", "one for all"))
            # A first screening of a few real files, of whose rows the archive is then grown.
            with ways.System(self.room / "system") as system:
                system.screen(write_pictures(self.room / "pictures", 64, seed=3), self.version)
                self.canned = fleet.canned(self.room / "canned.pickle")
            self.system = held.enter_context(ways.System(self.room / "system", SHARED))
            held.enter_context(environment("REDIS_URL", get_settings().broker))
            held.enter_context(environment("STORE_URL", f"file://{self.room / 'system' / 'store'}"))
            self.held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.close()

    def grow(self, count: int) -> None:
        self.system.grow(count, self.version)

    def images(self) -> int:
        with db.read() as session:
            return session.scalar(select(func.count()).select_from(Image)) or 0

    def _queue(self) -> int:
        """A job over the whole archive with a version that has seen none of it, every batch made; its number."""
        self.changed += 1
        self.version = altered(self.version, self.room / f"version{self.changed}", "backbone")
        job_id = self.system.begin(JobKind.RESCREEN, self.version, [])
        while True:
            with db.read() as session:
                job = jobs.get(session, job_id)
                if job.listed:
                    return job_id
            time.sleep(0.05)

    def processes(self, number: int) -> float:
        """Images a second of so many real screening processes."""
        job_id = self._queue()
        with ExitStack() as running, environment("TORCH_THREADS", "1"):
            for place in range(number):
                stack = local.Stack(Settings(data_dir=self.room / f"machine{place}"), ("screen",))
                running.callback(stack.stop)
                stack.start()
            return round(self._rate(job_id, 0.25), 1)

    def machines(self, number: int, held: float) -> dict[str, Any]:
        job_id = self._queue()
        with fleet.Sleepers(number, held, self.canned, self.room / f"fleet{number}") as sleepers:
            before, begun = fleet.busy(self.postmaster), sleepers.busy()
            rate = self._rate(job_id, 0.0)
            count = self.images()
            return {
                "machines": number,
                "images_s": round(rate, 1),
                "of_ideal": round(rate * held / number, 3),
                "postgres_ms": round(1000 * (fleet.busy(self.postmaster) - before) / count, 3),
                "worker_ms": round(1000 * (sleepers.busy() - begun) / count, 3),
            }

    def _rate(self, job_id: int, begin: float) -> float:
        """Images a second from the moment when a share of the job is done to its end."""
        count, start, done_then = self.images(), time.perf_counter(), 0
        with db.read() as session:
            version_id = jobs.get(session, job_id).model_version_id
        while True:
            if begin and not done_then:
                with db.read() as session:
                    done = session.scalar(
                        select(func.count()).select_from(Result).where(Result.model_version_id == version_id)
                    )
                if (done or 0) >= begin * count:
                    start, done_then = time.perf_counter(), done or 0
            if self.system.ended(job_id):
                return (count - done_then) / (time.perf_counter() - start)
            time.sleep(0.1 if begin else 0.25)


def show(report: dict[str, Any]) -> None:
    console = Console()
    if told := report.get("linear"):
        (small, large), (short, long) = told["images"], told["seconds"]
        console.print(f"{small} images: {short} s; {large}: {long} s, {told['ratio']} times as long")
        console.print(f"peak memory in MB: {told['peak_mb'][0]}; {told['peak_mb'][1]}")
    if told := report.get("processes"):
        table = Table("screening processes", "images a second", title=f"on {report['cores']} cores")
        for number, rate in told.items():
            table.add_row(str(number), str(rate))
        console.print(table)
    if told := report.get("machines"):
        table = Table(*told[0], title=f"machines that sleep {report['held_ms']} ms an image")
        for row in told:
            table.add_row(*map(str, row.values()))
        console.print(table)


if __name__ == "__main__":
    main()
