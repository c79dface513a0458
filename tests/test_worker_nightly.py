"""The night: opened once at its hour, late but within its window, paused at its end, and told of if it was missed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import seed
from dashboard_fixtures import scored
from sqlalchemy import func, select

from cxrscreen import batches, blobs, db, jobs, nights, registry, schedules
from cxrscreen.hours import Hours
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Entry,
    EntryStatus,
    Job,
    JobKind,
    JobState,
    ModelPolicy,
    ModelState,
    ModelVersion,
    Night,
    NightState,
    Result,
    Schedule,
)
from worker import ingest, nightly, sweep

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def schedule(cron: str = "0 22 * * *", zone: str = "UTC", armed: str = "", **values: Any) -> Schedule:
    """A schedule that began long ago or, for a fake clock, at a moment of its own."""
    at = moment(armed) if armed else LONG_AGO
    with db.write() as session:
        made = Schedule(name="Nightly", cron=cron, timezone=zone, enabled=True, created_at=at, armed_at=at, **values)
        session.add(made)
        session.flush()
    return made


def model(name: str = "m1", state: ModelState = ModelState.ACTIVE) -> ModelVersion:
    """A version whose files are in the store."""
    with db.write() as session:
        version = seed.model(session, name, state=state)
        store = blobs.store()
        weights = store.put("models", b"weights of " + name.encode())
        version.sha256 = store.put("models", name.encode())
        version.record = {**version.record, "weights": {"file": "model.safetensors", "sha256": weights}}
    return version


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told() -> list[tuple[str, NightState, str]]:
    with db.read() as session:
        rows = session.scalars(select(Night).order_by(Night.id))
        return [(night.window, night.state, night.reason) for night in rows]


def state_of(job_id: int) -> JobState:
    with db.read() as session:
        return jobs.get(session, job_id).state


def jobs_made() -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


@pytest.mark.parametrize(
    ("zone", "cron", "now", "due"),
    [
        ("UTC", "0 22 * * *", "2026-11-24 22:00", "2026-11-24 22:00"),
        ("UTC", "0 22 * * *", "2026-11-25 03:00", "2026-11-24 22:00"),
        ("Europe/Berlin", "0 22 * * *", "2026-07-01 20:30", "2026-07-01 20:00"),
        ("Europe/Berlin", "0 22 * * *", "2026-12-01 20:30", "2026-11-30 21:00"),
        # Clocks go forward: 02:30 is left out that night, and the first minute that exists is 03:00 summer time.
        ("Europe/Berlin", "30 2 * * *", "2026-03-29 04:00", "2026-03-29 01:00"),
        # Clocks go back: 02:30 comes twice and counts the first time, even while the second has not come yet.
        ("Europe/Berlin", "30 2 * * *", "2026-10-25 04:00", "2026-10-25 00:30"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25 01:15", "2026-10-25 00:30"),
        ("UTC", "0 22 * * *", "2028-02-29 23:00", "2028-02-29 22:00"),
        ("Europe/Minsk", "0 22 29 2 *", "2031-01-01 00:00", "2028-02-29 19:00"),
        ("Pacific/Kiritimati", "10 0 * * *", "2026-01-01 00:00", "2025-12-31 10:10"),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04 00:00", "2026-10-03 15:30"),  # half an hour goes forward
    ],
)
def test_the_hour_on_the_wall(zone: str, cron: str, now: str, due: str) -> None:
    hours = Hours(cron, zone)
    assert next(hours.before(moment(now))) == moment(due)
    assert next(hours.after(moment(due) - timedelta(seconds=1))) == moment(due)


def test_there_and_back_are_the_same_runs() -> None:
    for zone in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"):
        hours = Hours("30 2 * * *", zone)
        onward = list(islice(hours.after(moment("2026-01-01 00:00")), 400))
        assert list(islice(hours.before(onward[-1]), 400))[::-1] == onward
        assert all(later > earlier for earlier, later in pairwise(onward))


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 22 * * *"])
@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("Europe/Berlin", ("2026-03-27", "2026-10-23")),
        ("America/Santiago", ("2026-04-03", "2026-09-04")),  # clocks change at midnight, and the other way round
        ("Asia/Kolkata", ("2026-03-27", "2026-10-23")),  # never
        ("Europe/Berlin", ("2028-02-27",)),  # a leap day
    ],
)
def test_exactly_one_run_a_night(sqlite_database: Settings, zone: str, days: tuple[str, ...], cron: str) -> None:
    """A look every half hour over five days around each change of clocks."""
    model()
    for day in days:
        start = moment(f"{day} 12:00")
        row = schedule(cron, zone, armed=f"{day} 12:00")
        hours = schedules.hours_of(row)
        for step in range(5 * 48):
            job_id = nightly.open_night(row, start + timedelta(minutes=30 * step))
            if job_id is not None:
                with db.write() as session:
                    jobs.get(session, job_id).state = JobState.DONE
        with db.read() as session:
            windows = [night.window for night, _, _ in nights.listed(session, 99, row.id)][::-1]
            held = {night.state for night, _, _ in nights.listed(session, 99, row.id)}
        expected = [hours.named(at) for at in islice(hours.after(start), 5)]
        assert windows == expected and len({window[:10] for window in windows}) == 5
        assert held == {NightState.OPEN}
        with db.write() as session:
            schedules.remove(session, schedules.by_id(session, row.id), "a test")


def test_two_beats_open_one_night(database: Settings) -> None:
    row = schedule()
    model()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: nightly.open_night(row, moment("2026-11-24 22:01")), range(8)))
    assert sum(job is not None for job in made) == 1
    with db.read() as session:
        assert session.scalar(select(func.count()).where(Night.state == NightState.OPEN)) == 1


def test_a_run_is_late_within_its_window_or_missed(database: Settings) -> None:
    model()
    row = schedule(armed="2026-11-24 12:00", window_from="22:00", window_until="06:00")
    assert nightly.open_night(row, moment("2026-11-24 21:59")) is None
    assert nightly.open_night(row, moment("2026-11-25 05:59")) is not None
    assert nightly.open_night(row, moment("2026-11-25 05:59")) is None, "once"
    assert nightly.open_night(row, moment("2026-11-28 12:00")) is None
    assert [(window, state) for window, state, _ in told()] == [
        ("2026-11-24T22:00", NightState.OPEN),
        ("2026-11-25T22:00", NightState.MISSED),
        ("2026-11-26T22:00", NightState.MISSED),
        ("2026-11-27T22:00", NightState.MISSED),
    ]
    assert told()[-1][2] == "Nothing ran at its hour."
    nightly.open_night(row, moment("2026-11-28 13:00"))
    assert len(told()) == 4, "a second look tells nothing twice"


def test_a_window_that_ends_pauses_and_the_next_goes_on(database: Settings) -> None:
    model()
    row = schedule(armed="2026-11-24 12:00", window_from="22:00", window_until="06:00")
    with db.write() as session:
        seed.images(session, 3)
    nightly.run(moment("2026-11-24 22:00"))
    with db.read() as session:
        job_id = session.scalars(select(Job.id)).one()
    ingest.run(job_id)
    nightly.run(moment("2026-11-25 05:59"))
    assert state_of(job_id) == JobState.RUNNING
    nightly.run(moment("2026-11-25 06:00"))
    assert state_of(job_id) == JobState.PAUSED
    with db.write() as session:
        assert batches.claim(session, "w") is None, "nothing is claimed of a paused job"
    nightly.run(moment("2026-11-25 12:00"))
    assert state_of(job_id) == JobState.PAUSED
    nightly.run(moment("2026-11-25 22:00"))
    assert state_of(job_id) == JobState.RUNNING
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work
        batches.finish(session, work, "w", [batches.Answer(image.id, seed.result()) for image in work.images])
    assert state_of(job_id) == JobState.DONE
    nightly.run(moment("2026-11-25 22:01"))
    nightly.run(moment("2026-11-26 22:00"))
    assert jobs_made() == 2
    assert [state for _, state, _ in told()] == [NightState.DONE, NightState.DONE, NightState.OPEN]
    assert row.id


def test_what_a_person_did_in_between_counts(database: Settings) -> None:
    model()
    schedule(armed="2026-11-24 12:00", window_from="22:00", window_until="06:00")
    with db.write() as session:
        seed.images(session, 3)
    nightly.run(moment("2026-11-24 22:00"))
    with db.write() as session:
        job_id = session.scalars(select(Job.id)).one()
        jobs.pause(session, job_id, "a person")
    nightly.run(moment("2026-11-25 06:00"))
    nightly.run(moment("2026-11-25 22:00"))
    assert state_of(job_id) == JobState.PAUSED and jobs_made() == 1
    assert told()[-1][1:] == (
        NightState.MISSED,
        f"Job {job_id} of an earlier night was paused by a person: resume or cancel it.",
    )
    with db.write() as session:
        jobs.cancel(session, job_id, "a person")
    nightly.run(moment("2026-11-26 22:00"))
    assert jobs_made() == 2, "and the next night runs"


def test_a_night_goes_on_with_the_model_that_counts_now(database: Settings) -> None:
    model()
    schedule(armed="2026-11-24 12:00", window_from="22:00", window_until="06:00")
    with db.write() as session:
        seed.images(session, 3)
    nightly.run(moment("2026-11-24 22:00"))
    nightly.run(moment("2026-11-25 06:00"))
    other = model("m2", ModelState.CANDIDATE)
    with db.write() as session:
        registry.activate(session, session.get_one(ModelVersion, other.id), "a test")
    nightly.run(moment("2026-11-25 22:00"))
    with db.read() as session:
        first, second = session.scalars(select(Job).order_by(Job.id))
    assert (first.state, second.state, second.model_version_id) == (JobState.CANCELLED, JobState.WAITING, other.id)


def test_the_newest_candidate_is_screened_in_shadow_and_a_named_version_too(database: Settings) -> None:
    active = model()
    model("old", ModelState.CANDIDATE)
    newest = model("new", ModelState.CANDIDATE)
    row = schedule(policy=ModelPolicy.CANDIDATE)
    named = Schedule(name="Named", cron="0 22 * * *", timezone="UTC", policy=ModelPolicy.VERSION)
    named.model_version_id, named.armed_at, named.rate = active.id, LONG_AGO, 30
    with db.write() as session:
        session.add(named)
    for one, version in ((row, newest), (named, active)):
        job_id = nightly.open_night(one, moment("2026-11-24 22:01"))
        with db.read() as session:
            job = session.get_one(Job, job_id)
        assert (job.model_version_id, job.rate) == (version.id, one.rate)


@pytest.mark.parametrize("damage", ["rot", "lost", "no model", "no candidate", "no folder"])
def test_what_cannot_begin_is_a_failed_night_and_the_next_one_runs(
    database: Settings, tmp_path: Path, damage: str
) -> None:
    if damage != "no model":
        version = model()
        weights = Path(blobs.store().path("models", version.record["weights"]["sha256"]))
    folder = tmp_path / "folder"
    row = schedule(
        armed="2026-11-24 12:00",
        policy=ModelPolicy.CANDIDATE if damage == "no candidate" else ModelPolicy.ACTIVE,
        scope={"folder": str(folder)} if damage == "no folder" else {},
    )
    if damage == "rot":
        weights.write_bytes(b"rot")
    elif damage == "lost":
        weights.unlink()
    nightly.run(moment("2026-11-24 22:01"))
    nightly.run(moment("2026-11-24 22:02"))
    [(window, state, reason)] = told()
    assert (window, state) == ("2026-11-24T22:00", NightState.FAILED)
    assert reason.endswith(".") and "\n" not in reason
    if damage in ("no model", "no candidate"):
        model("late", ModelState.CANDIDATE if damage == "no candidate" else ModelState.ACTIVE)
    elif damage == "no folder":
        folder.mkdir()
    else:
        weights.write_bytes(b"weights of m1")
    nightly.run(moment("2026-11-25 22:01"))
    assert told()[-1][1] == NightState.OPEN and jobs_made() == 1
    assert row.id


def test_a_job_that_fails_makes_its_night_fail(database: Settings, tmp_path: Path) -> None:
    model()
    (tmp_path / "gone").mkdir()
    schedule(armed="2026-11-24 12:00", scope={"folder": str(tmp_path / "gone")})
    nightly.run(moment("2026-11-24 22:00"))
    (tmp_path / "gone").rmdir()
    with db.read() as session:
        ingest.run(session.scalars(select(Job.id)).one())
    nightly.run(moment("2026-11-24 22:01"))
    [(_, state, reason)] = told()
    assert state == NightState.FAILED and "gone" in reason


def test_a_store_that_does_not_answer_costs_no_night(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    version = model()
    schedule(armed="2026-11-24 12:00")
    folder = Path(blobs.store().path("models", version.sha256)).parent
    hidden = folder.with_name("away")
    folder.rename(hidden)
    folder.write_text("a disk that is no folder")  # opening a file below it is an OSError other than a missing file
    nightly.run(moment("2026-11-24 22:00"))
    assert told() == []
    folder.unlink()
    hidden.rename(folder)
    nightly.run(moment("2026-11-24 22:01"))
    assert [state for _, state, _ in told()] == [NightState.OPEN]


def listed(kind: JobKind, version_id: int, **scope: Any) -> list[int | None]:
    with db.write() as session:
        job_id = jobs.create(session, kind, "n", version_id, scope=scope).id
    ingest.run(job_id)
    with db.read() as session:
        assert jobs.get(session, job_id).listed
        return list(session.scalars(select(Entry.image_id).where(Entry.job_id == job_id).order_by(Entry.id)))


def test_a_night_lists_what_the_version_has_not_answered_for(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        images = seed.images(session, 7)
        for image in images[:3]:
            session.add(Result(image_id=image.id, model_version_id=version.id, **seed.result()))
    assert listed(JobKind.NIGHTLY, version.id) == [image.id for image in images[3:]]


def test_a_night_with_nothing_to_do_ends(database: Settings) -> None:
    with db.write() as session:
        job_id = jobs.create(session, JobKind.NIGHTLY, "n", seed.model(session).id).id
    ingest.run(job_id)
    assert state_of(job_id) == JobState.DONE


def test_the_scope_is_a_day_a_job_or_what_was_flagged(database: Settings) -> None:
    with db.write() as session:
        seen, other = seed.model(session), seed.model(session, "m2", state=ModelState.CANDIDATE)
        job = seed.running_job(session, seen, 2, prefix="job")
        of_job = list(session.scalars(select(Entry.image_id).where(Entry.job_id == job.id).order_by(Entry.id)))
        for entry in session.scalars(select(Entry)):
            entry.status = EntryStatus.SCORED
        ids = {}
        for name, score in (("high", 0.9), ("low", 0.1)):
            scored(session, name, [score], seen.id)
            ids[name] = session.scalars(select(func.max(Result.image_id))).one()
        old = seed.images(session, 1, "old")[0]
        old.created_at = moment("2026-01-01 00:00")
    everything = listed(JobKind.NIGHTLY, other.id)
    assert len(everything) == 5
    assert listed(JobKind.NIGHTLY, other.id, job=job.id) == of_job
    assert listed(JobKind.NIGHTLY, other.id, flagged=True) == [ids["high"]]
    assert listed(JobKind.NIGHTLY, other.id, flagged=False) == [ids["low"]]
    since = listed(JobKind.RESCREEN, other.id, since=moment("2026-01-15 00:00").isoformat())
    assert since == [image for image in everything if image != old.id]


def test_a_rate_holds_the_next_claims_back(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        job = seed.running_job(session, version, 30, batch=10)
        job.rate = 10  # ten images are a minute, and half a minute may be made good for
        other = seed.running_job(session, version, 2, prefix="other")
        other.priority = 0
        job_id, other_id = job.id, other.id
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work and work.job_id == job_id
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work and work.job_id == other_id, "others are not held"
        assert batches.claim(session, "w") is None
        assert batches.due(session, 9) == []
        job = jobs.get(session, job_id)
        assert job.held_until
        left = (job.held_until - db.clock(session)).total_seconds()
        assert 50 < left <= 60
        job.held_until -= timedelta(seconds=70)
    with db.write() as session:
        assert batches.claim(session, "w")
        held = jobs.get(session, job_id).held_until
        assert held and 40 < (held - db.clock(session)).total_seconds() <= 51, "the ten seconds late are made good"


def test_a_sweep_without_a_broker_changes_nothing_but_settles(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        job = seed.running_job(session, version, 0)
        waiting = seed.running_job(session, version, 2)
    sweep.run()
    assert (state_of(job.id), state_of(waiting.id)) == (JobState.DONE, JobState.RUNNING)
    with db.read() as session:
        assert session.scalar(select(func.count()).where(Entry.status == "waiting")) == 2
