"""Kill anything, at any time: each image still ends with one result, or with one named reason.

    python -m bench.faults [--quick] [--seed N] [--images N] [--faults N] [--minutes M] [--json FILE] [--room FOLDER]
    python -m bench.faults --cost [--quick] [--images N] [--json FILE]

Two jobs of as many images run one after the other on one stack: the first undisturbed, the second while faults happen
to everything it needs. `slowdown` is the time of the second over that of the first. `--cost` measures instead what
queue, leases and rows take of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from bench import fault_account, fault_cost, fault_rig
from bench.fault_kinds import Faults
from cxrscreen.tables import JobState

FULL = (5000, 200)
QUICK = (600, 36)
PATIENCE = (1.0, 9.0)  # the next fault comes after so many seconds at the latest, recovered or not
SETTLE_SECONDS = 240.0  # a job that makes no progress for so long after the last fault is stuck
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.faults")
    options.add_argument("--quick", action="store_true", help=f"{QUICK[0]} images and {QUICK[1]} faults")
    options.add_argument("--cost", action="store_true", help="the time that queue, leases and rows take")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--images", type=int)
    options.add_argument("--faults", type=int)
    options.add_argument("--minutes", type=float, help="no fault after so many; then the job runs to its end")
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--room", type=Path, metavar="FOLDER", help="keep everything here, logs and all")
    told = options.parse_args()
    images, faults = QUICK if told.quick else FULL
    with ExitStack() as stack:
        room = told.room or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxrscreen-faults-")))
        room.mkdir(parents=True, exist_ok=True)
        room = room.resolve()
        if told.cost:
            files, rounds = fault_cost.QUICK if told.quick else fault_cost.FULL
            report = fault_cost.run(room, told.images or files, rounds)
        else:
            report = run(room, told.images or images, told.faults or faults, told.seed, minutes=told.minutes)
    (fault_cost.show if told.cost else show)(report)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def run(
    room: Path,
    images: int,
    faults: int,
    seed: int,
    version: Path | None = None,
    minutes: float | None = None,
    patience: tuple[float, float] = PATIENCE,
) -> dict[str, Any]:
    """The whole bench; `version` is a bundle, trained here where there is none."""
    version = version or fault_rig.train_small(room / "model")
    calm = fault_rig.write_pictures(room / "calm", images, seed=1000)
    storm = fault_rig.write_pictures(room / "storm", images, seed=2000)
    with fault_rig.Rig(room, version) as rig:
        first = Course(rig, calm, version)
        first.go(None, 0, random.Random(seed))
        second = Course(rig, storm, version, 60 * minutes if minutes else float("inf"), patience)
        chance = random.Random(seed)
        second.go(Faults(rig, chance), faults, chance)
    return {
        "images": images,
        "faults": len(second.fired),
        **second.ends,
        "account_errors": len(second.sampler.wrong),
        "slowdown": round(second.seconds / first.seconds, 2),
        "seconds": round(second.seconds, 1),
        "seconds_without": round(first.seconds, 1),
        "samples": len(second.sampler.history),
        "unreadable": second.sampler.unreadable,
        "without_faults": first.ends,
        "wrong": second.sampler.wrong[:20],
        "seed": seed,
        "kinds": second.by_kind(),
    }


class Course:
    """One job from its opening to its end."""

    def __init__(
        self,
        rig: fault_rig.Rig,
        folder: Path,
        version: Path,
        most: float = float("inf"),
        patience: tuple[float, float] = PATIENCE,
    ) -> None:
        self.rig = rig
        self.most = most  # seconds after which no fault comes any more
        self.patience = patience
        self.right = fault_rig.right_answers(folder, version)
        self.folder = folder
        self.fired: list[tuple[float, str, int]] = []  # when, which, how many were settled then
        self.undo: list[tuple[float, Callable[[], None]]] = []
        self.seconds = 0.0
        self.ends: dict[str, int] = {}

    def go(self, faults: Faults | None, count: int, chance: random.Random) -> None:
        start = last = time.monotonic()
        job_id = self.rig.open_job(self.folder)
        self.sampler = fault_account.Sampler(job_id, len(self.right))
        # Every kind in turn, each turn in an order of its own: none is left out by chance.
        order: list[str] = []
        pause = chance.uniform(*self.patience)
        while self.sampler.state not in ENDED or self.undo:
            now = time.monotonic()
            if self.sampler.state not in ENDED:
                self.seconds = now - start
            self._undo(now)
            if now - start > self.most:
                count = len(self.fired)
            share = 0.7 * len(self.right) * len(self.fired) / max(1, count)
            due = self.sampler.settled >= share or now - last > pause
            if faults and due and len(self.fired) < count and self.sampler.state not in ENDED:
                order = order or chance.sample(list(faults.kinds()), len(faults.kinds()))
                self._fire(faults, order.pop())
                last, pause = time.monotonic(), chance.uniform(*self.patience)
            if len(self.fired) >= count and now - max(last, self._moved(start)) > SETTLE_SECONDS:
                break
            time.sleep(0.02)
        self._undo(float("inf"))
        self.sampler.stop()
        self.ends = fault_account.audit(job_id, self.right)

    def _fire(self, faults: Faults, kind: str) -> None:
        try:
            later = faults.kinds()[kind]()
        except SQLAlchemyError:  # one that needs the database while another has taken it
            later = None
        moment = time.monotonic()
        self.fired.append((moment, kind, self.sampler.settled))
        with (self.rig.room / "faults.log").open("a") as log:
            log.write(f"{len(self.fired)} {time.strftime('%X')} {kind}; {self.sampler.settled} settled\n")
        if later:
            self.undo.append((moment + later[0], later[1]))

    def _undo(self, now: float) -> None:
        for due in [due for due in self.undo if due[0] <= now]:
            self.undo.remove(due)
            due[1]()

    def _moved(self, start: float) -> float:
        """When the account last changed."""
        history = self.sampler.history
        end = self.sampler.settled
        return next((at for at, settled in reversed(history) if settled < end), start)

    def by_kind(self) -> dict[str, dict[str, float]]:
        """For each kind: how often, and the seconds until the next image was settled."""
        waits: dict[str, list[float]] = {}
        for moment, kind, settled in self.fired:
            after = next((at for at, count in self.sampler.history if at > moment and count > settled), None)
            waits.setdefault(kind, []).append((after or moment) - moment)
        return {
            kind: {
                "faults": len(found),
                "median_seconds": round(statistics.median(found), 1),
                "most_seconds": round(max(found), 1),
            }
            for kind, found in sorted(waits.items())
        }


def show(report: dict[str, Any]) -> None:
    console = Console()
    title = f"{report['images']} images, {report['faults']} faults, seed {report['seed']}"
    table = Table("fault", "times", "seconds to the next image, median", "most", title=title)
    for kind, told in report["kinds"].items():
        table.add_row(kind, str(told["faults"]), f"{told['median_seconds']:.1f}", f"{told['most_seconds']:.1f}")
    console.print(table)
    names = ("lost", "duplicates", "stuck", "differ", "account_errors")
    console.print(", ".join(f"{name} {report[name]}" for name in names))
    console.print(
        f"{report['samples']} readings of the account; {report['seconds']:.0f} s with faults, "
        f"{report['seconds_without']:.0f} s without: {report['slowdown']:.1f} times as long"
    )
    for line in report["wrong"]:
        console.print(line)


if __name__ == "__main__":
    main()
