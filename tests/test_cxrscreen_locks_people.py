"""Two people, two beats, or a person and a beat at once: the second sees what the first did (`meetings`)."""

from __future__ import annotations

from datetime import timedelta

import pytest
import seed
from meetings import beside, in_heap_order, stops
from sqlalchemy import func, select, update
from test_worker_nightly import model, moment, schedule

from cxrscreen import (
    arrivals,
    batches,
    db,
    drift,
    jobs,
    nights,
    operating,
    registry,
    retention,
    retries,
    schedules,
    studies,
    users,
)
from cxrscreen.batches import Answer
from cxrscreen.errors import Conflict
from cxrscreen.imaging import File, Reason
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Activation,
    Alert,
    AuditEvent,
    Image,
    Job,
    JobKind,
    JobState,
    ModelState,
    ModelVersion,
    Night,
    NightState,
    Role,
    Schedule,
    Study,
    Verdict,
    WatchedFile,
    now,
)
from worker import nightly


@pytest.fixture(autouse=True)
def database(postgres_database: Settings) -> None:
    in_heap_order()


def person(name: str, role: Role = Role.ADMIN) -> int:
    with db.write() as session:
        return users.add(session, name, role).id


@pytest.mark.parametrize("first", [True, False])
def test_two_sign_for_two_versions_and_one_is_active(first: bool) -> None:
    with db.write() as session:
        before = [] if first else [seed.model(session, "before").id]
        one, two = (seed.model(session, name, state=ModelState.CANDIDATE).id for name in ("one", "two"))

    def activate(version_id: int) -> None:
        with db.write() as session:
            registry.activate(session, session.get_one(ModelVersion, version_id), "a test", "looked at")

    with beside(lambda: activate(two)) as comes, db.write() as session:
        registry.activate(session, session.get_one(ModelVersion, one), "a test", "looked at")
        comes()
    with db.read() as session:
        active = session.scalars(select(ModelVersion.id).where(ModelVersion.state == ModelState.ACTIVE)).all()
        signed = session.execute(select(Activation.model_version_id, Activation.before_id).order_by(Activation.id))
        assert active == [two]
        assert [tuple(row) for row in signed] == [(one, *(before or [None])), (two, one)]


def test_two_roll_back_at_once_and_it_is_done_once() -> None:
    with db.write() as session:
        for name in ("one", "two", "three"):
            registry.activate(session, seed.model(session, name, state=ModelState.CANDIDATE), "a test")
        seen = registry.need_active(session).id

    def rolls_back() -> None:
        with pytest.raises(Conflict, match="Somebody else"), db.write() as session:
            registry.roll_back(session, "another", seen)

    with beside(rolls_back) as comes, db.write() as session:
        registry.roll_back(session, "somebody", seen)
        comes()
    with db.read() as session:
        assert registry.need_active(session).name == "two"
        assert session.scalar(select(func.count()).where(Activation.rolled_back)) == 1


def test_two_administrators_step_back_at_once_and_one_is_left() -> None:
    ann, bob = person("ann"), person("bob")

    def step_back(user_id: int) -> None:
        with db.write() as session:
            users.set_role(session, users.by_id(session, user_id), Role.READER, "a test")

    def too_late() -> None:
        with pytest.raises(Conflict, match="last administrator"):
            step_back(bob)

    with beside(too_late) as comes, db.write() as session:
        users.set_role(session, users.by_id(session, ann), Role.READER, "a test")
        session.flush()
        comes()
    with db.read() as session:
        assert [users.by_id(session, number).role for number in (ann, bob)] == [Role.READER, Role.ADMIN]


def test_results_are_written_while_somebody_signs_for_a_threshold() -> None:
    ann = person("ann")
    with db.write() as session:
        version = seed.model(session)
        job_id = seed.running_job(session, version, 1).id
        point = operating.newest(session, version.id)
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work and point

    def finishes() -> None:
        with db.write() as session:
            assert batches.finish(session, work, "w", [Answer(image.id, seed.result()) for image in work.images])

    with beside(finishes) as comes, db.write() as session:
        operating.sign(session, version, 0.7, users.by_id(session, ann), "looked at", point.id)
        comes()
        with db.read() as other:
            assert jobs.get(other, job_id).state == JobState.DONE, "nobody waited"


def test_the_first_who_sees_an_alert_counts() -> None:
    ann, bob = person("ann"), person("bob")
    with db.write() as session:
        session.add(Alert(said="Something is off."))

    def see(user_id: int) -> None:
        with db.write() as session:
            drift.see(session, session.scalars(select(Alert)).one(), users.by_id(session, user_id))

    with beside(lambda: see(bob)) as comes, db.write() as session:
        drift.see(session, session.scalars(select(Alert)).one(), users.by_id(session, ann))
        session.flush()
        comes()
    with db.read() as session:
        assert session.scalars(select(Alert.seen_by)).all() == ["ann"]
        assert session.scalar(select(func.count()).where(AuditEvent.action == "alert.seen")) == 1


def test_a_doubt_comes_while_retention_looks(configure: object) -> None:
    long_ago = now() - timedelta(days=60)
    reader = person("ann", Role.READER)
    with db.write() as session:
        seed.model(session)
        study_id = seed.images(session, 1)[0].study_id
        session.execute(update(Study).values(created_at=long_ago))
        session.execute(update(Image).values(created_at=long_ago))
    configure(retention_days=30)  # type: ignore[operator]

    with beside(lambda: retention.run(now())) as comes, db.write() as session:
        ann = users.by_id(session, reader)
        studies.review(session, studies.get(session, study_id), ann, Verdict.UNSURE, "is that all?", None, None)
        comes()
    with db.read() as session:
        assert session.get(Study, study_id) is not None


def test_a_schedule_is_removed_while_a_night_of_it_begins() -> None:
    version = model()
    row = schedule()

    def removes() -> None:
        with pytest.raises(Conflict, match="not done"), db.write() as session:
            schedules.remove(session, session.get_one(Schedule, row.id), "a test")

    with beside(removes) as comes, db.write() as session:
        night = nights.write(session, row, moment("2026-11-24 22:00"), NightState.OPEN)
        nights.carry(session, row, night, version)
        session.flush()
        comes()
    with db.read() as session:
        assert session.get(Schedule, row.id) is not None


def test_a_schedule_is_removed_while_a_job_of_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    version = model()
    row = schedule()
    with db.write() as session:
        job = jobs.create(session, JobKind.NIGHTLY, "a night", version.id, schedule_id=row.id, window="one")
        jobs.fail(session, job.id, "the model is damaged", Reason.INTERNAL)

    def removes() -> None:
        with pytest.raises(Conflict, match=f"Job {job.id}"), db.write() as session:
            schedules.remove(session, session.get_one(Schedule, row.id), "a test")

    with beside(removes) as comes:
        stops(monkeypatch, retries, "_open", comes)  # it holds the job, and shares the schedule later
        with db.write() as session:
            retries.failed(session, job.id, "a test")
    with db.read() as session:
        assert jobs.get(session, job.id).schedule_id == row.id


def test_a_night_is_paused_while_the_next_one_ends_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    model()
    row = schedule(window_from="22:00", window_until="06:00")
    job_id = nightly.begin(row, moment("2026-11-24 22:00"))
    other = model("m2", ModelState.CANDIDATE)
    with db.write() as session:
        registry.activate(session, session.get_one(ModelVersion, other.id), "a test")
    with db.read() as session:
        ((night, job),) = nights.unfinished(session)

    with beside(lambda: nightly.begin(row, moment("2026-11-25 22:00"))) as comes:
        stops(monkeypatch, jobs, "pause", comes)
        nightly.close_night(night, job, moment("2026-11-25 22:00"))
    with db.read() as session:
        states = {one.id: one.state for one in session.scalars(select(Job))}
        assert states.pop(job_id) == JobState.CANCELLED and list(states.values()) == [JobState.WAITING]
        assert session.scalar(select(func.count()).select_from(Night)) == 2


def test_two_jobs_of_a_schedule_take_the_same_files_in_another_order() -> None:
    version = model()
    row = schedule(scope={"folder": "/files", "watch": True})
    with db.write() as session:
        first, second = (
            jobs.create(session, JobKind.NIGHTLY, "a test", version.id, schedule_id=row.id, window=window).id
            for window in ("one", "two")
        )
    files = (File(name, f"/files/{name}", "1") for name in "ab")
    small, great = sorted(files, key=lambda file: arrivals._key(file.place))

    def takes() -> None:
        with db.write() as session:
            arrivals.Arrivals(row.id, second).take(session, [(great, None), (small, None)])

    with beside(takes) as comes, db.write() as session:
        mine = arrivals.Arrivals(row.id, first)
        mine.take(session, [(small, None)])
        comes()
        mine.take(session, [(great, None)])
    with db.read() as session:
        assert session.scalars(select(WatchedFile.job_id)).all() == [second, second]
