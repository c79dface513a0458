"""A study is deleted while others have rows of it in hand: a retry, a job that fails, what clears (`meetings`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import seed
from meetings import beside, in_heap_order, lies_last, lock, stops
from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cxrscreen import (
    blobs,
    clearing,
    db,
    deletion,
    entries,
    features,
    jobs,
    orphans,
    readings,
    retries,
    studies,
    users,
)
from cxrscreen.errors import Conflict, NotFound
from cxrscreen.features import Seen
from cxrscreen.imaging import Reason
from cxrscreen.readings import Given
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Entry,
    EntryStatus,
    Feature,
    Image,
    Job,
    JobKind,
    JobState,
    ModelVersion,
    Rejection,
    Role,
    Study,
    Upload,
    Verdict,
)

FACTS = {"width": 8, "height": 8, "facts": {}}
A, B = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def database(postgres_database: Settings) -> None:
    in_heap_order()
    blobs.store().put("models", b"so that the store is there")


def job(session: Session, *names: str) -> Job:
    """A job with entries that wait for their bytes."""
    version = session.scalar(select(ModelVersion)) or seed.model(session)
    made = jobs.create(session, JobKind.FOLDER, "a test", version.id)
    session.add_all(Entry(job_id=made.id, name=name, status=EntryStatus.WAITING, attempts=1) for name in names)
    session.flush()
    return made


def fails(session: Session, entry: Entry, image_id: int) -> None:
    """It had an image, and no answer."""
    entry.image_id = image_id
    entries.reject(session, entry, Reason.INTERNAL, status=EntryStatus.FAILED)


def image(session: Session, study_id: int, sha256: str, *, path: str | None = None) -> Image:
    made = Image(study_id=study_id, sha256=sha256, name=f"{sha256[:1]}.png", derivative=sha256, path=path, **FACTS)
    made.frame, made.frames = 0, 1
    session.add(made)
    session.flush()
    return made


def study(session: Session, key: str = "a study") -> int:
    made = Study(key=key, label=key)
    session.add(made)
    session.flush()
    return made.id


def delete(study_id: int) -> None:
    with db.write() as session:
        deletion.delete_study(session, study_id, "a test")


def test_a_study_goes_while_images_of_it_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = blobs.store()
    with db.write() as session:
        study_id = study(session)
        images = [image(session, study_id, store.put("originals", data)) for data in (b"one", b"two")]
        rows = []
        for _ in images:
            made = job(session, "a.png")
            made.state, made.listed = JobState.DONE, True
            rows.append(session.scalars(select(Entry).where(Entry.job_id == made.id)).one())
        for row, known in zip(reversed(rows), images, strict=True):
            fails(session, row, known.id)

    def goes() -> None:
        with pytest.raises(Conflict, match=f"Job {rows[0].job_id} is still at work"):
            delete(study_id)

    with beside(goes) as comes:
        stops(monkeypatch, retries, "_open", comes)
        with db.write() as session:
            assert retries.chosen(session, [row.id for row in rows], "a test", store).again == 2
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Rejection)) == 0
        assert session.scalar(select(func.count()).where(Entry.image_id.is_not(None))) == 2


@pytest.mark.parametrize("picked", [False, True])
def test_what_is_tried_again_goes_with_its_study_meanwhile(monkeypatch: pytest.MonkeyPatch, picked: bool) -> None:
    store = blobs.store()
    with db.write() as session:
        made = job(session, "night.zip/a.png")
        held = Upload(name="night.zip", size=1, sha256=store.put("uploads", b"an archive"))
        session.add(held)
        session.flush()
        made.sources = [{"upload": held.id, "label": "night.zip"}]
        made.state, made.listed = JobState.DONE, True
        study_id = study(session)
        row = session.scalars(select(Entry)).one()
        fails(session, row, image(session, study_id, store.put("originals", b"a picture")).id)

    def tries() -> None:
        with db.write() as session:
            if picked:
                assert retries.chosen(session, [row.id], "a test", store) == retries.Tried({}, cleared=1)
                return
            with pytest.raises(Conflict, match="Upload it again"):
                retries.failed(session, made.id, "a test")

    with beside(tries) as comes:
        stops(monkeypatch, orphans, "condemn", comes)
        delete(study_id)
    with db.read() as session:
        assert session.get_one(Entry, row.id).status == EntryStatus.FAILED
        assert session.get_one(Job, made.id).state == JobState.DONE


def test_a_study_is_deleted_while_others_point_at_its_images() -> None:
    with db.write() as session:
        study_id = study(session)
        first, second = (image(session, study_id, sha256).id for sha256 in (A, B))
        lies_last(session, Image, first)
        made = job(session, "a.png", "b.png")
        made.state = JobState.DONE

    with beside(lambda: delete(study_id)) as comes, db.write() as session:
        session.execute(update(Entry).where(Entry.name == "a.png").values(image_id=first))
        comes()
        session.execute(update(Entry).where(Entry.name == "b.png").values(image_id=second))


@pytest.mark.parametrize("takes_back", [False, True])
def test_a_verdict_comes_while_its_study_is_deleted(monkeypatch: pytest.MonkeyPatch, takes_back: bool) -> None:
    with db.write() as session:
        study_id = study(session)
        ann = users.add(session, "ann", Role.READER).id

    def reads(study_id: int) -> int:
        with db.write() as session:
            asked = studies.get(session, study_id)
            return readings.give(session, asked, users.by_id(session, ann), Given(Verdict.DISMISSED)).id

    number = reads(study_id) if takes_back else 0

    def too_late() -> None:
        with pytest.raises(NotFound, match=f"no study {study_id}"), db.write() as session:
            if takes_back:
                readings.undo(session, users.by_id(session, ann), "review", number)
            else:
                reads(study_id)

    with beside(too_late) as comes:
        stops(monkeypatch, orphans, "condemn", comes)
        delete(study_id)


def test_a_job_fails_over_images_of_a_study_that_is_deleted() -> None:
    with db.write() as session:
        study_id = study(session)
        known = [image(session, study_id, sha256) for sha256 in (A, B)]
        made = job(session, "b.png", "a.png")
        rows = session.scalars(select(Entry).order_by(Entry.id)).all()
        rows[0].image_id, rows[1].image_id = known[1].id, known[0].id

    def fail() -> None:
        with db.write() as session:
            jobs.fail(session, made.id, "a test", Reason.INTERNAL)

    with beside(fail) as comes, db.write() as session:
        lock(session, Image, known[0].id)
        comes()
        lock(session, Image, known[1].id)
    with db.read() as session:
        assert jobs.account(session, made.id).failed == 2


def test_features_are_forgotten_while_a_study_is_deleted() -> None:
    with db.write() as session:
        study_id = study(session)
        first, second = (image(session, study_id, sha256).id for sha256 in (A, B))
        for number in (second, first):
            features.keep(session, [(number, Seen("of old", b"1234"))])

    def forget() -> None:
        with db.write() as session:
            features.forget(session)

    with beside(forget) as comes, db.write() as session:
        session.execute(sql_delete(Feature).where(Feature.image_id == first))
        comes()
        session.execute(sql_delete(Feature).where(Feature.image_id == second))


def test_uploads_go_with_a_study_and_are_cleared() -> None:
    with db.write() as session:
        made = job(session, "one.zip/a.png", "two.zip/b.png")
        held = [Upload(name=name, size=1, sha256=sha256) for name, sha256 in (("one.zip", B), ("two.zip", A))]
        session.add_all(held)
        session.flush()
        made.sources = [{"upload": row.id, "label": row.name} for row in held]
        made.state = JobState.DONE
        study_id = study(session)
        for row, sha256 in zip(session.scalars(select(Entry)).all(), (A, B), strict=True):
            row.image_id, row.status = image(session, study_id, sha256).id, EntryStatus.SCORED
        session.flush()
        lies_last(session, Upload, held[0].id)

    def clears() -> None:
        with db.write() as session:
            mine = jobs.get(session, made.id)
            assert len(clearing.let_go(session, mine, {row.name: clearing.Held() for row in held}, "a test")) == 2

    def both_ways(other: Callable[[], object]) -> None:
        with beside(lambda: other()) as comes, db.write() as session:
            lock(session, Upload, held[0].id)
            comes()
            lock(session, Upload, held[1].id)

    both_ways(clears)
    with db.write() as session:
        session.execute(update(Upload).values(removed_at=None))
        lies_last(session, Upload, held[0].id)
    both_ways(lambda: delete(study_id))
