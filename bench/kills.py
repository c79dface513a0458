"""kill -9 in the middle of an unpack, of a store write, and at any moment, fifty times each: nothing is lost.

    python -m bench.kills [--quick] [--kills 50] [--seed 1] [--json FILE]

A process takes in an archive in an archive, is killed, and another goes on; nothing is screened. For `unpack` the
kill comes at a random moment after a commit; for `write` in the middle of the n-th blob of a process; for `moment` at
a random one, whether the process has come to anything or not, so that many have the same files in hand. After each kill
the account has to add up and no entry may be gone or set aside. In the end every member has to be an image, every blob
has to have the hash that names it, and a sweep later none may be there without a row. Uploads are killed by
`CXRSCREEN_TEST_KILLS=50 python -m pytest tests/test_dashboard_tus.py -k killed_again`.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import signal
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import func, select, update

from bench.fault_rig import forget
from bench.ingest import SHIPPED
from bench.ingest_archives import write_zip
from cxrscreen import blobs, db, inventory, jobs, orphans, registry, schema
from cxrscreen.tables import Entry, Image, Job, JobKind, Upload
from worker import ingest

WAYS = ("unpack", "write", "moment")
MEMBERS_A_KILL = 30  # so that there is something left to kill at
LONGEST_WAIT = 0.3  # seconds from the first commit of a process to its kill
LONGEST_LIFE = 1.0
WRITES = (5, 50)  # of which a process dies in one; not in the first, so that it gets on
SETTINGS = {"BATCH_SIZE": "8", "WAITING_BATCHES": "1000000"}


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m bench.kills", description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--quick", action="store_true", help="ten kills of each kind")
    words.add_argument("--kills", type=int, default=50)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--json", type=Path)
    asked = words.parse_args()
    report = run(10 if asked.quick else asked.kills, asked.seed)
    text = json.dumps(report, indent=2)
    if asked.json:
        asked.json.write_text(text)
    print(text)
    raise SystemExit(1 if any(told["wrong"] for told in report.values()) else 0)


def run(kills: int, seed: int, members_a_kill: int = MEMBERS_A_KILL) -> dict[str, Any]:
    return {way: _run(way, kills, random.Random(seed), kills * members_a_kill) for way in WAYS}


def _run(way: str, kills: int, chance: random.Random, members: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cxrscreen-kills-") as room, _settings(Path(room)):
        job_id = _open(Path(room), members)
        wrong: Counter[str] = Counter()
        died = found = 0
        began = time.monotonic()
        while died < kills:
            if not _live(job_id, way, chance):
                break
            died += 1
            found = _look(job_id, found, wrong)
        died_seconds = time.monotonic() - began
        while not _listed(job_id):
            _live(job_id, "", chance)
        _look(job_id, found, wrong)
        left = _judge(job_id, members, wrong)
        return {
            "kills": died,
            "members": members,
            "seconds": round(died_seconds, 1),
            "wrong": dict(wrong),
            "left_before_the_sweep": left,
        }


@contextmanager
def _settings(room: Path) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {f"CXRSCREEN_{name}": value for name, value in SETTINGS.items()}
    os.environ |= {"CXRSCREEN_DATA_DIR": str(room / "data"), "CXRSCREEN_REDIS_URL": "redis://127.0.0.1:1/0"}
    for name in ("CXRSCREEN_DATABASE_URL", "CXRSCREEN_STORE_URL"):
        os.environ.pop(name, None)
    forget()
    try:
        yield
    finally:
        db.get_engine().dispose()
        os.environ.clear()
        os.environ |= before
        forget()


def _open(room: Path, members: int) -> int:
    """A job over a zip in a tar.gz, uploaded."""
    (room / "data").mkdir()
    schema.upgrade(db.get_engine())
    write_zip(room / "inner.zip", members=members)
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w:gz", compresslevel=1) as tar:
        tar.add(room / "inner.zip", "inner.zip")
    store = blobs.store()
    with db.write() as session:
        version = registry.register(session, store, SHIPPED)
        sha256 = store.put("uploads", outer.getvalue())
        upload = Upload(name="a.tar.gz", size=len(outer.getvalue()), sha256=sha256)
        session.add(upload)
        session.flush()
        sources = [{"upload": upload.id, "label": "a.tar.gz"}]
        return jobs.create(session, JobKind.UPLOAD, "kills", version.id, sources=sources).id


def _live(job_id: int, way: str, chance: random.Random) -> bool:
    """One process that ingests, until it is done or killed; True where it was killed."""
    wait, life, at = chance.uniform(0, LONGEST_WAIT), chance.uniform(0, LONGEST_LIFE), chance.randrange(*WRITES)
    with db.write() as session:
        session.execute(update(Job).values(lease_until=None))
    db.get_engine().dispose()
    child = os.fork()
    if child == 0:
        try:
            logging.disable(logging.WARNING)  # nothing screens, and no broker hears of it
            forget()
            if way == "write":
                _die_in_write(at)
            ingest.run(job_id)
        finally:
            os._exit(0)
    if way == "unpack":
        _wait_for_progress(child, job_id)
    if way in ("unpack", "moment"):
        time.sleep(wait if way == "unpack" else life)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


def _wait_for_progress(child: int, job_id: int) -> None:
    """Until it has committed something, or ended."""
    taken = select(func.count()).select_from(Entry).where(Entry.job_id == job_id, Entry.image_id.is_not(None))
    with db.read() as session:
        before = session.scalar(taken)
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        with db.read() as session:
            if session.scalar(taken) != before:
                return
        time.sleep(0.01)


def _die_in_write(at: int) -> None:
    """The process kills itself with half of its n-th blob written."""
    whole = blobs.Blobs._appearing
    count = 0

    class Half:
        def __init__(self, file: IO[bytes]) -> None:
            self.file = file

        def write(self, data: bytes) -> None:
            nonlocal count
            count += 1
            if count == at:
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            self.file.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    @contextmanager
    def half(self: blobs.Blobs, target: Path, durable: bool) -> Iterator[Any]:
        with whole(self, target, durable) as file:
            yield Half(file)

    blobs.Blobs._appearing = half  # type: ignore[method-assign,assignment]


def _look(job_id: int, before: int, wrong: Counter[str]) -> int:
    """Hold the account against the entries; answers how many there are."""
    with db.read() as session:
        account = jobs.account(session, job_id)
        rows = session.scalar(select(func.count()).select_from(Entry).where(Entry.job_id == job_id)) or 0
    wrong["the account does not add up"] += account.found != rows
    wrong["entries are gone"] += rows < before
    wrong["entries failed"] += account.failed > 0
    for name in [name for name, count in wrong.items() if not count]:
        del wrong[name]
    return rows


def _listed(job_id: int) -> bool:
    with db.read() as session:
        return jobs.get(session, job_id).listed


def _judge(job_id: int, members: int, wrong: Counter[str]) -> dict[str, int]:
    """What came of it, and what the store holds beside it, before a sweep; after it there may be nothing."""
    with db.read() as session:
        account = jobs.account(session, job_id)
        with_image = session.scalar(select(func.count()).select_from(Entry).where(Entry.image_id.is_not(None)))
        images = session.scalar(select(func.count()).select_from(Image))
    if (account.found, with_image, images) != (members, members, members):
        wrong["members without an image"] += abs(members - (images or 0)) or 1
    left = Counter(str(found.trouble) for found in inventory.inspect(blobs.store(), inventory.Count()))
    for trouble in (inventory.Trouble.MISSING, inventory.Trouble.DAMAGED):
        if left[str(trouble)]:
            wrong[f"blobs: {trouble}"] += left[str(trouble)]
    os.environ |= {"CXRSCREEN_ORPHAN_HOURS": "0.000001", "CXRSCREEN_LEASE_SECONDS": "2"}
    forget()
    store = blobs.store()
    store.require()
    for kind in orphans.NAMED:
        for shelf in blobs.SHELVES:
            orphans.search(store, kind, shelf)
    time.sleep(orphans.pause().total_seconds() + 0.1)
    while orphans.remove(store):
        pass
    for found in inventory.inspect(store, inventory.Count(), hashes=False):
        wrong[f"after the sweep: {found.trouble}"] += 1
    return dict(left)


if __name__ == "__main__":
    main()
