"""Who reads pictures for the network, threads or processes; and a batch that is in hand beside another."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from sqlalchemy import select
from steps import job_over, screen_all
from test_worker_trouble import ANSWERED, ends, model, pictures, some

from cxrscreen import batches, blobs, db
from cxrscreen.batches import Picture
from cxrscreen.imaging.reasons import Reason
from cxrscreen.settings import Settings
from cxrscreen.tables import Batch, BatchState, Image
from worker import decoders, ingest, look, screen
from worker.pixels import Missing

__all__ = ["model", "pictures"]

SIZE = 32
PARENT = """
import os, sys, time
from worker import decoders
pool = decoders.Decoders("processes", 2)
pids = {pool.pool.submit(os.getpid).result() for _ in range(8)}
with open(sys.argv[1] + ".fresh", "w") as file:
    file.write(" ".join(map(str, pids)))
os.rename(sys.argv[1] + ".fresh", sys.argv[1])
time.sleep(3600)
"""


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    decoders.end()


def in_archive() -> list[Picture]:
    with db.read() as session:
        images = session.scalars(select(Image).order_by(Image.id))
        return [Picture(*(getattr(image, name) for name in Picture._fields)) for image in images]


def states() -> list[tuple[BatchState, int]]:
    with db.read() as session:
        return [(one.state, one.attempts) for one in session.scalars(select(Batch).order_by(Batch.id))]


def test_processes_read_what_threads_read(model: int, pictures: Path, tmp_path: Path) -> None:
    ingest.run(job_over(some(pictures, tmp_path / "f", 10), model))
    images = in_archive()
    blobs.store().delete("derivatives", images[6].derivative)
    blobs.store().delete("originals", images[6].sha256)
    read = {}
    for kind in ("threads", "processes"):
        pool = decoders.Decoders(kind, 2)
        try:
            chunks = list(pool.read(images, SIZE, 0.0).chunks(4))
            assert [len(chunk) for chunk in chunks] == [4, 4, 2]
            read[kind] = [pair for chunk in chunks for pair in chunk]
        finally:
            pool.end()
    for (image, held), (same, other) in zip(read["threads"], read["processes"], strict=True):
        assert image == same
        if image is images[6]:
            assert isinstance(held, Missing) and isinstance(other, Missing)
        else:
            assert np.array_equal(held, other) and held.shape == (SIZE, SIZE)


def test_a_picture_that_ends_the_process_that_reads_it_is_set_aside(
    model: int, pictures: Path, tmp_path: Path, configure: Callable[..., Settings]
) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 2), model)
    ingest.run(job_id)
    bad = hashlib.sha256((tmp_path / "f" / "001.png").read_bytes()).hexdigest()
    configure(deadly_sha256=bad, decoders="processes", decode_threads=1)
    screen_all()
    assert ends(job_id) == {ANSWERED: 1, Reason.QUARANTINED: 1}


def test_a_process_that_reads_ends_with_its_parent(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(told)], cwd=ROOT)
    until = time.monotonic() + 120
    while not told.exists() and time.monotonic() < until:
        time.sleep(0.05)
    pids = [int(one) for one in told.read_text().split()]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    parent.kill()
    parent.wait()
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_is_measured_decides() -> None:
    assert decoders.choose(one=800, many=12000, network=30000, count=16) == ("threads", 16)
    assert decoders.choose(one=476, many=492, network=6000, count=16) == ("processes", 16)
    assert decoders.choose(one=476, many=492, network=400, count=16) == ("threads", 16)
    assert decoders.choose(one=800, many=900, network=2600, count=16) == ("processes", 4)


def test_a_batch_claimed_beside_another_is_begun_given_back_or_left(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.run(job_over(some(pictures, tmp_path / "f", 24), model))
    answer, beside = look.answer, []

    def wait(begun: look.Begun) -> list[batches.Answer]:
        if turn.next is not None:
            turn.next.result()
        beside.append(states())
        return answer(begun)

    monkeypatch.setattr(look, "answer", wait)
    leased, waiting, done = (BatchState.LEASED, 1), (BatchState.WAITING, 0), (BatchState.DONE, 1)
    with screen.Turn() as turn:
        assert turn.one(more=True)
    assert beside == [[leased, leased, waiting]]
    assert states() == [done, waiting, waiting], "it is given back, and nobody is said to have died with it"
    with db.write() as session:
        # Somebody died with the second one.
        held = batches.claim(session, "another")
        assert held is not None
        batches.give_up(session, held.batch_id, "another")
    with screen.Turn() as turn:
        while turn.one(more=True):
            pass
    in_hand = [len([state for state, _ in seen if state == BatchState.LEASED]) for seen in beside[1:3]]
    assert in_hand == [1, 2], "whoever was there at a death is screened alone"
    assert {state for state, _ in states()} == {BatchState.DONE}
