"""Whose turn it is: people before the night, and people in turns, whatever one of them brings."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import seed
from sqlalchemy import event, text

from cxrscreen import batches, db, ingests, jobs, turns, users
from cxrscreen.batches import Answer
from cxrscreen.settings import Settings
from cxrscreen.tables import JobKind, JobState, ModelVersion, Role, User

LARGE = 20_000  # batches of a job in the test of plans
FEW = 100  # rows that may be sorted


def people(*names: str) -> list[int]:
    with db.write() as session:
        return [users.add(session, name, Role.OPERATOR).id for name in names]


def job(version: int, images: int, person: int | None = None, kind: JobKind = JobKind.UPLOAD, batch: int = 2) -> int:
    with db.write() as session:
        model = session.get_one(ModelVersion, version)
        made = seed.running_job(session, model, images, batch=batch, prefix=f"{kind}-{person}-{seed_number()}")
        made.kind, made.priority, made.user_id = kind, jobs.PRIORITY[kind], person
        return made.id


def seed_number() -> int:
    seed_number.count += 1  # type: ignore[attr-defined]
    return seed_number.count  # type: ignore[attr-defined,no-any-return]


seed_number.count = 0  # type: ignore[attr-defined]


def model() -> int:
    with db.write() as session:
        return seed.model(session).id


def work_on(count: int, *, done: bool = True) -> list[int]:
    """Claim so many batches, finishing each before the next; answers whose job each was."""
    seen = []
    for number in range(count):
        with db.write() as session:
            if (work := batches.claim(session, f"w{number}")) is None:
                break
            seen.append(work.job_id)
            if done:
                answers = [Answer(image.id, seed.result(0.5)) for image in work.images]
                assert batches.finish(session, work, f"w{number}", answers)
    return seen


def test_a_large_upload_holds_up_nobody_and_the_night_waits(database: Settings) -> None:
    version = model()
    ann, bob = people("ann", "bob")
    night = job(version, 6, kind=JobKind.NIGHTLY)
    large = job(version, 40, ann)
    assert work_on(3) == [large] * 3
    small = job(version, 10, bob)
    told = work_on(10)
    assert told == [small, large] * 5, "batch by batch, and the newcomer first"
    assert set(work_on(12)) == {large}
    assert work_on(9) == [night] * 3
    with db.read() as session:
        assert {jobs.get(session, each).state for each in (night, large, small)} == {JobState.DONE}


def test_workers_that_hold_batches_count_for_their_turn(database: Settings) -> None:
    version = model()
    ann, bob = people("ann", "bob")
    large, small = job(version, 20, ann), job(version, 20, bob)
    assert work_on(6, done=False) == [large, small] * 3


def test_a_heap_of_tiny_jobs_is_one_persons(database: Settings) -> None:
    version = model()
    ann, bob = people("ann", "bob")
    heap = [job(version, 2, ann) for _ in range(6)]
    small = job(version, 6, bob)
    told = work_on(9)
    assert [each == small for each in told] == [False, True, False, True, False, True, False, False, False]
    assert [each for each in told if each != small] == heap


def test_ones_own_small_job_is_not_behind_ones_large(database: Settings) -> None:
    version = model()
    (ann,) = people("ann")
    large = job(version, 20, ann)
    assert work_on(2) == [large] * 2
    small = job(version, 4, ann)
    assert work_on(4) == [small, large, small, large]


def test_jobs_of_nobody_share_one_turn(database: Settings) -> None:
    version = model()
    (ann,) = people("ann")
    script = [job(version, 4, None, JobKind.COMMAND) for _ in range(3)]
    hers = job(version, 6, ann)
    told = work_on(6)
    assert [each == hers for each in told] == [False, True] * 3
    assert [each for each in told if each != hers] == script


def test_sources_are_read_in_turns_too(database: Settings) -> None:
    version = model()
    ann, bob = people("ann", "bob")

    def opened(person: int | None, kind: JobKind = JobKind.UPLOAD) -> int:
        with db.write() as session:
            by = session.get_one(User, person) if person else None
            return jobs.create(session, kind, "a job", version, user=by).id

    night = opened(None, JobKind.NIGHTLY)
    hers = [opened(ann) for _ in range(3)]
    his = opened(bob)

    def read(worker: str) -> int | None:
        with db.write() as session:
            found = ingests.claim_next(session, worker)
            return found.id if found else None

    assert read("w1") == hers[0]
    with db.read() as session:
        reading = jobs.get(session, hers[0])
        assert ingests.wanted_by_others(session, reading, turn_over=True)
        assert not ingests.wanted_by_others(session, reading, turn_over=False), "it has its turn"
    assert read("w2") == his, "one of each person before a second of one"
    with db.read() as session:
        reading = jobs.get(session, hers[0])
        assert not ingests.wanted_by_others(session, reading, turn_over=True), "her own other jobs wait for her"
    assert [read(f"w{n}") for n in range(3, 7)] == [hers[1], hers[2], night, None]
    with db.write() as session:
        ingests.release(session, night, "w5")
    assert read("w7") == night
    newest = opened(bob)
    with db.read() as session:
        assert ingests.wanted_by_others(session, jobs.get(session, night), turn_over=False), "a person goes first"
    with db.write() as session:
        jobs.cancel(session, newest, "a test")


def test_one_that_has_no_room_is_read_after_one_that_has(
    database: Settings, configure: Callable[..., Settings]
) -> None:
    version = model()
    ann, bob = people("ann", "bob")
    full, free = job(version, 8, ann), job(version, 2, bob, JobKind.RESCREEN)
    with db.write() as session:
        for each in (full, free):
            jobs.get(session, each).listed = False
    configure(waiting_batches=2, database_url=database.database_url)
    with db.write() as session:
        found = ingests.claim_next(session, "w")
        assert found and found.id == free


def test_a_claim_reads_no_table_whole(postgres_database: Settings) -> None:
    """Two jobs of many batches, most of them waiting: what a claim asks is answered by steps in indexes."""
    version = model()
    ann, bob = people("ann", "bob")
    ours = [job(version, 2, ann), job(version, 2, bob)]
    with db.write() as session:
        for each in ours:
            fill = (
                "INSERT INTO batches (job_id, state, attempts, created_at, claimed_at) SELECT :job, "
                "CASE WHEN n % 3 = 0 THEN 'done' ELSE 'waiting' END, 0, now(), now() FROM generate_series(1, :n) AS n"
            )
            session.execute(text(fill), {"job": each, "n": LARGE})
    with db.get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    asked: list[tuple[str, object]] = []

    def keep(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    with db.write() as session:
        event.listen(db.get_engine(), "before_cursor_execute", keep)
        assert batches.claim(session, "w")
        assert turns.reading(session, db.clock(session)) == []
        event.remove(db.get_engine(), "before_cursor_execute", keep)
        plans = [
            session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()  # type: ignore[arg-type]
            for statement, parameters in asked
            if "batches" in statement and "INSERT" not in statement
        ]
    assert len(plans) >= 4
    scans = [line for plan in plans for line in plan if "Seq Scan on batches" in line]
    assert scans == []
    # With some samples PostgreSQL sorts the few that it expects to have lapsed; many it may not.
    sorts = [
        "\n".join(plan)
        for plan in plans
        for above, line in pairwise(plan)
        if "Sort Key: batches" in line and int(re.findall(r"rows=(\d+)", above)[-1]) > FEW
    ]
    assert sorts == []
