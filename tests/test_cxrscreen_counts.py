"""The counts that the database keeps are those of the rows, whatever changes them. On SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import seed
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from cxrscreen import counts, db, entries, jobs
from cxrscreen.settings import Settings
from cxrscreen.tables import Entry, EntryStatus, Image, Job, JobCount, JobKind, Rejection


def opened(session: Session, version: int) -> int:
    return jobs.create(session, JobKind.FOLDER, "a job", version).id


def test_every_way_of_changing_rows_is_counted(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        first = seed.running_job(session, version, 12).id
        second = opened(session, version.id)
    assert counts.wrong() == []
    with db.read() as session:
        assert jobs.account(session, first) == jobs.Account(waiting=12)
    with db.write() as session:  # many rows by one statement, some of which change nothing
        session.execute(update(Entry).where(Entry.id <= 5).values(status=EntryStatus.SCORED))
        session.execute(update(Entry).where(Entry.id <= 8).values(status=EntryStatus.SCORED, attempts=2))
    with db.write() as session:  # one that is there already is passed by
        rows = [
            {"job_id": first, "name": "image-0000.png", "status": EntryStatus.WAITING},
            {"job_id": second, "name": "new.png", "status": EntryStatus.WAITING},
        ]
        session.execute(db.insert_for(session, Entry).on_conflict_do_nothing(), rows)
    with db.write() as session:  # and is changed
        fresh = db.insert_for(session, Entry)
        row = {"job_id": first, "name": "image-0001.png", "frame": 0, "frames": 1, "attempts": 0}
        changed = fresh.on_conflict_do_update(
            index_elements=["job_id", "name", "frame"], set_={"status": EntryStatus.CANCELLED}
        )
        session.execute(changed, [{**row, "status": EntryStatus.WAITING}])
    with db.write() as session:  # object by object; a reason that changes; a row that moves to another job
        for number, entry in enumerate(session.scalars(select(Entry).where(Entry.id.in_([9, 10, 11])))):
            entries.reject(session, entry, "no_image" if number else "damaged", "seen")
            entries.reject(session, entry, "blank" if number == 1 else "damaged", "seen again")
        session.execute(update(Entry).where(Entry.id == 12).values(job_id=second))
    with db.read() as session:
        assert jobs.account(session, first) == jobs.Account(
            scored=7, cancelled=1, rejected=3, reasons={"damaged": 2, "blank": 1}
        )
        assert jobs.accounts(session, [first, second])[second] == jobs.Account(waiting=2)
    assert counts.wrong() == []
    with db.write() as session:  # what goes with what it stands on
        image = session.scalars(select(Entry.image_id).where(Entry.id == 10)).one()
        session.execute(delete(Image).where(Image.id == image))
        session.execute(delete(Entry).where(Entry.id == 11))
    assert counts.wrong() == []
    with db.write() as session:
        session.execute(update(Entry).values(batch_id=None))
        session.execute(text("DELETE FROM batches"))
        session.execute(delete(Job).where(Job.id == first))
    assert counts.wrong() == []
    with db.read() as session:
        assert set(session.scalars(select(JobCount.job_id))) == {second}


def test_what_is_rolled_back_was_not_counted(database: Settings) -> None:
    with db.write() as session:
        first = seed.running_job(session, seed.model(session), 4).id
    with pytest.raises(ZeroDivisionError), db.write() as session:
        session.execute(update(Entry).values(status=EntryStatus.SCORED))
        assert jobs.account(session, first).scored == 4, "within the transaction it counts at once"
        raise ZeroDivisionError
    with db.read() as session:
        assert jobs.account(session, first) == jobs.Account(waiting=4)


def test_many_writers_at_once_lose_no_count_and_wait_for_none(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session).id
        ours = [opened(session, version) for _ in range(3)]

    words = list(EntryStatus)

    def write(number: int) -> None:
        chance = random.Random(number)
        for step in range(8):
            with db.write() as session:
                names = [f"{number}-{step}-{n}" for n in range(5)]
                rows = [{"job_id": chance.choice(ours), "name": name, "status": chance.choice(words)} for name in names]
                session.execute(insert(Entry), rows)
                mine = Entry.name.like(f"{number}-%")
                session.execute(update(Entry).where(mine).values(status=chance.choice(words)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert counts.wrong() == []
    with db.read() as session:
        assert sum(account.found for account in jobs.accounts(session, ours).values()) == 8 * 8 * 5


def test_a_row_that_comes_in_the_middle_of_the_look_is_in_neither(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.write() as session:
        first = seed.running_job(session, seed.model(session), 3).id
    kept = counts.of

    def after_another(session: Session, job_ids: Sequence[int]) -> counts.Counts:
        with db.write() as other:
            other.add(Entry(job_id=first, name="late.png", status=EntryStatus.WAITING))
        return kept(session, job_ids)

    monkeypatch.setattr(counts, "of", after_another)
    assert counts.wrong() == []
    monkeypatch.undo()
    assert counts.wrong() == [] and counts_of(first) == 4


def counts_of(job_id: int) -> int:
    with db.read() as session:
        return sum(counts.of(session, [job_id])[job_id, "entries"].values())


def test_a_count_that_is_off_is_told_and_made_anew(database: Settings) -> None:
    with db.write() as session:
        first = seed.running_job(session, seed.model(session), 3).id
        entry = session.scalars(select(Entry).limit(1)).one()
        entries.reject(session, entry, "blank", "seen")
    with db.write() as session:
        session.execute(update(JobCount).where(JobCount.word == "waiting").values(n=99))
        session.execute(delete(JobCount).where(JobCount.kind == "rejections"))
    assert len(counts.wrong()) == 2 and f"job {first}, entries: kept" in counts.wrong()[0]
    with db.write() as session:
        counts.recount(session)
    assert counts.wrong() == []
    with db.write() as session:
        session.execute(delete(Rejection))
    assert counts.wrong() == []
