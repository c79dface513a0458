"""What an ingest and a screening worker do when the store, the database or a source goes away, or a file kills them."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from stack_fixtures import register, write_pictures
from steps import job_over, screen_all

from cxrscreen import batches, blobs, db, jobs, retries
from cxrscreen.imaging import Prepared, Reason, Rejected
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Batch,
    BatchState,
    Entry,
    EntryStatus,
    Image,
    Job,
    JobKind,
    JobState,
    Upload,
    now,
)
from models import bundle
from worker import ingest, intake, look, runtime, screen, stop, sweep, trial
from worker.leaves import Leaf

ANSWERED = "answered"
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
REAL_SCREENER = look._screener  # the fixtures put one in its place that is loaded once a session


class Killed(BaseException):
    """Passes by every handler, as a kill does."""


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that spare a store which is away are no part of what is tried."""
    monkeypatch.setattr(ingest, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(screen, "STORE_PAUSE_SECONDS", 0.0)


@pytest.fixture
def model(database: Settings, screener_once: None, phantom_bundle: Path, configure: Callable[..., Settings]) -> int:
    configure(copy_folder_files=True, batch_size=8)
    return register(phantom_bundle).id


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("trouble"), 40, side=160)


def some(pictures: Path, folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for path in sorted(pictures.iterdir())[:count]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def account(job_id: int) -> jobs.Account:
    with db.read() as session:
        return jobs.account(session, job_id)


def ends(job_id: int) -> dict[str, int]:
    """How many entries the model answered for (by a score, or by finding them unlike its training), and what else."""
    told = account(job_id)
    rest = {reason: count for reason, count in told.reasons.items() if reason != Reason.UNLIKE_TRAINING}
    rest |= {"waiting": told.waiting} if told.waiting else {}
    return {ANSWERED: told.scored + told.reasons.get(Reason.UNLIKE_TRAINING, 0)} | rest


def state(job_id: int) -> JobState:
    with db.read() as session:
        return jobs.get(session, job_id).state


def lapse() -> None:
    past = now() - timedelta(seconds=1)
    with db.write() as session:
        session.execute(update(Job).where(Job.lease_until.is_not(None)).values(lease_until=past))
        session.execute(update(Batch).where(Batch.lease_until.is_not(None)).values(lease_until=past))


def test_a_store_that_is_away_fails_no_image(model: int, pictures: Path, tmp_path: Path) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 12), model)
    ingest.run(job_id)
    root = Path(blobs.store().root)
    away = root.with_name("away")
    root.rename(away)
    screen.run()
    assert account(job_id).waiting == 12, "the store was away, so nothing is known of any image"
    assert not root.exists()
    root.write_text("a file where a folder was")
    screen.run()
    assert account(job_id).waiting == 12
    root.unlink()
    away.rename(root)
    screen_all()
    assert ends(job_id) == {ANSWERED: 12}


def test_an_ingest_makes_no_second_store_where_the_first_is_away(model: int, pictures: Path, tmp_path: Path) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 12), model)
    root = Path(blobs.store().root)
    away = root.with_name("away")
    root.rename(away)
    ingest.run(job_id)
    assert not root.exists() and state(job_id) == JobState.RUNNING
    away.rename(root)
    ingest.run(job_id)
    screen_all()
    assert ends(job_id) == {ANSWERED: 12} and state(job_id) == JobState.DONE


def test_a_store_that_goes_in_the_middle_of_an_ingest(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 24), model)
    root = Path(blobs.store().root)
    away = root.with_name("away")
    put = blobs.Blobs.put
    left = [10]

    def put_until(self: blobs.Blobs, kind: str, data: bytes, **more: object) -> str:
        left[0] -= 1
        if left[0] == 0:
            root.rename(away)
        return put(self, kind, data, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(blobs.Blobs, "put", put_until)
    ingest.run(job_id)
    assert not root.exists() and state(job_id) == JobState.RUNNING
    with db.read() as session:
        assert session.scalar(select(func.max(Entry.attempts)).where(Entry.image_id.is_(None))) == 0
    away.rename(root)
    ingest.run(job_id)
    screen_all()
    assert ends(job_id) == {ANSWERED: 24}


def test_an_upload_is_not_lost_because_its_store_is_away(model: int, phantom_archive: Path) -> None:
    import hashlib

    data = phantom_archive.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    blobs.store().put("uploads", data, sha256=sha256)
    with db.write() as session:
        upload = Upload(name="night.zip", size=len(data), sha256=sha256)
        session.add(upload)
        session.flush()
        sources = [{"upload": upload.id, "label": "night.zip"}]
        job_id = jobs.create(session, JobKind.UPLOAD, "night.zip", model, sources=sources).id
    root = Path(blobs.store().root)
    away = root.with_name("away")
    root.rename(away)
    ingest.run(job_id)
    assert state(job_id) == JobState.RUNNING
    away.rename(root)
    ingest.run(job_id)
    screen_all()
    assert state(job_id) == JobState.DONE and account(job_id).failed == 0


def test_a_source_that_goes_while_it_is_read_is_waited_for(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = some(pictures, tmp_path / "f", 24)
    job_id = job_over(source, model)
    commit = intake.Slice._commit
    gone = [False]

    def go_after_the_first(self: intake.Slice, leaves: list[Leaf]) -> list[int]:
        made = commit(self, leaves)
        if not gone[0]:
            source.rename(tmp_path / "gone")
            gone[0] = True
        return made

    monkeypatch.setattr(intake.Slice, "_commit", go_after_the_first)
    ingest.run(job_id)
    ingest.run(job_id)
    assert account(job_id).rejected == 0 and state(job_id) == JobState.RUNNING
    (tmp_path / "gone").rename(source)
    ingest.run(job_id)
    screen_all()
    assert ends(job_id) == {ANSWERED: 24}


def test_a_file_that_left_its_source_after_a_death_holds_no_job_open(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = some(pictures, tmp_path / "f", 4)
    job_id = job_over(source, model)

    def die(self: intake.Slice, leaves: list[Leaf]) -> list[int]:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(intake.Slice, "_commit", die)
        ingest.run(job_id)
    (source / "002.png").unlink()
    lapse()
    ingest.run(job_id)
    screen_all()
    assert ends(job_id) == {ANSWERED: 3, Reason.ORIGINAL_MISSING: 1}
    assert state(job_id) == JobState.DONE


def test_a_file_that_kills_the_ingest_is_set_aside_and_its_neighbours_are_read(
    model: int, pictures: Path, tmp_path: Path, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 40), model)
    configure(deadly_sha256=hashlib.sha256((tmp_path / "f" / "013.png").read_bytes()).hexdigest())
    begin, in_hand = intake.Slice.begin, []

    def die() -> None:
        raise Killed

    def note(self: intake.Slice) -> None:
        begin(self)
        in_hand.append(len(self.leaves))

    monkeypatch.setattr(stop, "die", die)  # in this process; the trial's own process ends as said
    monkeypatch.setattr(intake.Slice, "begin", note)
    with pytest.raises(Killed):
        ingest.run(job_id)
    lapse()
    ingest.run(job_id)
    assert _listed(job_id), "one death, and those of the trials, find the file"
    screen_all()
    assert ends(job_id) == {ANSWERED: 39, Reason.QUARANTINED: 1}
    with db.read() as session:
        assert session.scalar(select(Entry.name).where(Entry.status == EntryStatus.FAILED)) == "f/013.png"
    assert in_hand.count(8) >= 5, "slices stay whole"


def test_whoever_was_in_hand_at_many_deaths_is_read_all_the_same(model: int, pictures: Path, tmp_path: Path) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 3), model)
    (tmp_path / "f" / "cut.png").write_bytes((pictures / "000.png").read_bytes()[:-200])
    with db.write() as session:
        for name in ("f/000.png", "f/001.png", "f/cut.png"):
            session.add(Entry(job_id=job_id, name=name, attempts=50))
        session.execute(update(Job).values(attempts=50))
    ingest.run(job_id)
    screen_all()
    assert ends(job_id) == {ANSWERED: 3, Reason.DAMAGED: 1}


def test_a_trial_that_cannot_be_held_condemns_nobody(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 1), model)
    with db.write() as session:
        session.add(Entry(job_id=job_id, name="f/000.png", attempts=1))
    with monkeypatch.context() as patch:
        patch.setattr(trial.sys, "executable", "/bin/false")
        ingest.run(job_id)
    assert account(job_id) == jobs.Account(waiting=1) and not _listed(job_id)
    ingest.run(job_id)
    screen_all()
    assert ends(job_id) == {ANSWERED: 1}


def _listed(job_id: int) -> bool:
    with db.read() as session:
        return jobs.get(session, job_id).listed


@pytest.mark.parametrize("at_once", [False, True])
def test_a_job_is_cancelled_and_tried_again_while_it_is_read(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """What had failed is read again: by a walk from the start, not by the one that is past it (`at_once` beside it)."""
    job_id = job_over(some(pictures, tmp_path / "f", 24), model)
    first = sorted(pictures.iterdir())[0].name
    commit, read, done = intake.Slice.commit, trial.read, []

    def stumbles(data: bytes, name: str) -> list[Prepared]:
        if name.endswith(first) and not done:
            raise Rejected(Reason.INTERNAL, "a test")
        return read(data, name)

    def meanwhile(piece: intake.Slice) -> None:
        if ends(job_id).get(Reason.INTERNAL) and not done:
            done.append(True)
            with db.write() as session:
                jobs.cancel(session, job_id, "a test")
            with db.write() as session:
                retries.failed(session, job_id, "a test")
            if at_once:
                with monkeypatch.context() as other:
                    other.setattr(runtime, "name", lambda: "another")
                    ingest.run(job_id)
        commit(piece)

    monkeypatch.setattr(trial, "read", stumbles)
    monkeypatch.setattr(intake.Slice, "commit", meanwhile)
    ingest.run(job_id)
    assert done and _listed(job_id) == at_once
    ingest.run(job_id)
    screen_all()
    assert ends(job_id) == {ANSWERED: 24} and account(job_id).found == 24 and state(job_id) == JobState.DONE


def test_an_answer_that_the_database_refuses_ends_in_quarantine(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 8), model)
    ingest.run(job_id)
    with db.read() as session:
        bad = session.scalars(select(Image.id).order_by(Image.id)).all()[3]
    predict = look._predict

    def spoil(*told: object) -> list[batches.Answer]:
        answers = predict(*told)  # type: ignore[arg-type]
        for answer in answers:
            if answer.image_id == bad and answer.result is not None:
                answer.result["label"] = None
        return answers

    monkeypatch.setattr(look, "_predict", spoil)
    screen_all()
    assert ends(job_id) == {ANSWERED: 7, Reason.QUARANTINED: 1}


def test_a_worker_that_cannot_load_the_network_condemns_no_image(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 8), model)
    ingest.run(job_id)
    load = bundle.load
    REAL_SCREENER.cache_clear()
    with monkeypatch.context() as lost:
        lost.setattr(bundle, "load", lambda folder, device: load(folder, device="cuda:99"))
        lost.setattr(look, "_screener", REAL_SCREENER)
        for _ in range(10):
            screen.run()
        assert "cuda:99" in (runtime.SCREENING.last_error or "")
    assert ends(job_id) == {ANSWERED: 0, "waiting": 8}
    screen_all()
    assert ends(job_id) == {ANSWERED: 8}


def test_a_network_that_answers_for_nothing_any_more_ends_the_process_and_condemns_no_image(
    model: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 8), model)
    ingest.run(job_id)
    signals: list[int] = []

    def poisoned(*_: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    with monkeypatch.context() as card:
        card.setattr(bundle.Screener, "predict_inputs", poisoned)
        card.setattr(look.os, "kill", lambda _pid, number: signals.append(number))
        screen.Turn().one()
    assert signals == [signal.SIGTERM]
    assert ends(job_id) == {ANSWERED: 0, "waiting": 8}
    screen_all()
    assert ends(job_id) == {ANSWERED: 8}


def test_a_lease_of_a_clock_that_was_ahead_is_reined_in(model: int, pictures: Path, tmp_path: Path) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 8), model)
    ingest.run(job_id)
    with db.write() as session:
        assert batches.claim(session, "dead")
        session.execute(update(Batch).values(lease_until=now() + timedelta(hours=2)))
        session.execute(update(Job).values(lease_until=now() + timedelta(hours=2)))
    sweep.run()
    latest = now() + timedelta(seconds=61)
    with db.read() as session:
        assert all(until < latest for until in session.scalars(select(Batch.lease_until)))
        assert all(until < latest for until in session.scalars(select(Job.lease_until)))


def test_an_entry_that_no_batch_holds_gets_one(model: int, pictures: Path, tmp_path: Path) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 8), model)
    ingest.run(job_id)
    with db.write() as session:
        session.execute(update(Batch).values(state=BatchState.DONE))
    sweep.run()
    screen_all()
    assert ends(job_id) == {ANSWERED: 8} and state(job_id) == JobState.DONE


def test_an_image_that_was_deleted_while_it_waited(model: int, pictures: Path, tmp_path: Path) -> None:
    job_id = job_over(some(pictures, tmp_path / "f", 3), model)
    ingest.run(job_id)
    with db.write() as session:
        session.delete(session.scalars(select(Image).order_by(Image.id)).first())
    screen_all()
    assert ends(job_id) == {ANSWERED: 2, Reason.ORIGINAL_MISSING: 1}


def test_an_ingest_waits_for_the_screening(
    model: int, pictures: Path, tmp_path: Path, configure: Callable[..., Settings]
) -> None:
    configure(waiting_batches=2, batch_size=4)
    job_id = job_over(some(pictures, tmp_path / "f", 40), model)
    reading = threading.Thread(target=ingest.run, args=[job_id])
    reading.start()
    most = 0
    until = time.monotonic() + 200
    while state(job_id) not in ENDED and time.monotonic() < until:
        time.sleep(0.7)
        with db.read() as session:
            most = max(most, batches.waiting_count(session, job_id))
        if most >= 2:  # it has run into its limit, and goes on only as far as we make room
            screen.run()
    reading.join()
    assert ends(job_id) == {ANSWERED: 40}
    # Two slices may be in hand when the second batch is cut.
    assert 2 <= most <= 4


def test_an_ingest_that_waits_makes_place_for_another_job(
    model: int, pictures: Path, tmp_path: Path, configure: Callable[..., Settings]
) -> None:
    configure(waiting_batches=1, batch_size=4)
    first = job_over(some(pictures, tmp_path / "f", 16), model)
    job_over(some(pictures, tmp_path / "g", 4), model)
    ingest.run(first)  # comes back, although nobody screens
    with db.read() as session:
        job = jobs.get(session, first)
    assert not job.listed and job.lease_until is None and job.state == JobState.RUNNING


def test_an_ingest_waits_for_room_on_the_disk_until_it_is_paused(
    model: int, pictures: Path, tmp_path: Path, configure: Callable[..., Settings]
) -> None:
    configure(store_reserve_gb=1e9)
    job_id = job_over(some(pictures, tmp_path / "f", 4), model)
    reading = threading.Thread(target=ingest.run, args=[job_id])
    reading.start()
    waits = f"job {job_id} waits"
    while reading.is_alive() and not runtime.INGESTING.doing.startswith(waits):
        time.sleep(0.05)
    assert reading.is_alive() and account(job_id).found == 0
    assert "GB" in runtime.INGESTING.doing
    with db.write() as session:
        jobs.pause(session, job_id, "a test")
    reading.join(60)
    assert not reading.is_alive() and state(job_id) == JobState.PAUSED


def test_a_frozen_worker_lets_go_of_its_locks(
    postgres_database: Settings,
    configure: Callable[..., Settings],
    phantom_bundle: Path,
    pictures: Path,
    tmp_path: Path,
) -> None:
    configure(lease_seconds=2)
    db.get_engine().dispose()
    job_id = job_over(some(pictures, tmp_path / "f", 4), register(phantom_bundle).id)
    db.get_engine().dispose()
    event.listen(Engine, "connect", runtime._forbid_idling)
    try:
        with Session(db.get_engine()) as frozen:
            frozen.execute(select(Job.id).where(Job.id == job_id).with_for_update())
            ingest.run(job_id)  # wants the row that is held, and would wait for it for ever
            with pytest.raises(DBAPIError, match="idle-in-transaction timeout"):
                frozen.execute(select(Job.id))
            frozen.invalidate()
    finally:
        event.remove(Engine, "connect", runtime._forbid_idling)
        db.get_engine().dispose()
    assert _listed(job_id)
