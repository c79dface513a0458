"""The archive meets over the same rows in one order: what comes in, what is deleted, what is condemned (`meetings`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import seed
from meetings import beside, in_heap_order, lies_last, lock, stops
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session
from steps import png

from cxrscreen import blobs, clearing, db, deletion, entries, features, jobs, orphans, retries, sources, studies
from cxrscreen.errors import Conflict
from cxrscreen.features import Seen
from cxrscreen.imaging import Facts, Member, Prepared, Reason
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Condemned,
    Entry,
    EntryStatus,
    Feature,
    Image,
    Job,
    JobKind,
    JobState,
    ModelVersion,
    Rejection,
    Study,
    Upload,
    now,
)
from worker import accepted, ingest, intake
from worker.leaves import Leaf, Place
from worker.trial import Trial

FACTS = {"width": 8, "height": 8, "facts": {}}
A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture(autouse=True)
def database(postgres_database: Settings) -> None:
    in_heap_order()
    blobs.store().put("models", b"so that the store is there")


@contextmanager
def place(job_id: int, folder: Path, *, referred: bool = True) -> Iterator[Place]:
    """Where one takes in who holds the job's sources."""
    with db.write() as session:
        job = _read_by_us(session, job_id)
    with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers, Trial() as trial:
        yield Place(job, "reader", sources.at(str(folder)), referred, readers, writers, trial)


def _read_by_us(session: Session, job_id: int) -> Job:
    job = jobs.get(session, job_id)
    job.state, job.worker = JobState.RUNNING, "reader"
    return job


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


def leaf(entry_id: int, sha256: str) -> Leaf:
    """A file of one study with others, read and written."""
    facts = Facts(kind="png", width=8, height=8, bits=8, photometric="MONOCHROME2", study_uid="1.2.3")
    made = Leaf(Member(f"{sha256[:1]}.png", 1), entry_id, sha256=sha256)
    made.frames, made.derivatives = [Prepared(0, 1, facts, None, None)], {0: sha256}
    return made


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


def take_in(job_id: int, folder: Path) -> None:
    """All of a folder as one slice; what goes wrong is raised."""
    with place(job_id, folder) as here:
        piece = intake.Slice(here, list(here.source.members(here.source.files(folder.name), ingest._limits())))
        piece.begin()
        piece.decode()
        try:
            piece.commit()
        except BaseException:
            piece.forgive()
            raise


def of_the_series() -> str:
    return f"uid:{studies.pseudonym('1.2.3')}"


def test_two_ingests_store_the_same_images_in_another_order(tmp_path: Path) -> None:
    with db.write() as session:
        study_id = study(session, of_the_series())
        made = job(session, "b.png", "a.png", "c.png")
        rows = session.scalars(select(Entry).order_by(Entry.id)).all()

    def other() -> None:
        with db.write() as session:
            brought = zip(rows, (B, A, C), strict=True)
            taken = [(leaf(row.id, sha256), session.get_one(Entry, row.id)) for row, sha256 in brought]
            accepted.accept(session, here, taken)

    with place(made.id, tmp_path) as here, beside(other) as comes, db.write() as session:
        image(session, study_id, A)
        comes()
        image(session, study_id, B)
    with db.read() as session:
        shown = session.execute(select(Entry.name, Image.sha256).join(Image, Image.id == Entry.image_id)).all()
        assert sorted(map(tuple, shown)) == [("a.png", A), ("b.png", B), ("c.png", C)]
        assert session.scalar(select(func.count()).select_from(Image)) == 3


def test_images_are_numbered_as_they_came(tmp_path: Path) -> None:
    with db.write() as session:
        made = job(session, "b.png", "c.png", "a.png")
        rows = session.scalars(select(Entry).order_by(Entry.id)).all()
    with place(made.id, tmp_path) as here, db.write() as session:
        brought = zip(rows, (B, C, A), strict=True)
        taken = [(leaf(row.id, sha256), session.get_one(Entry, row.id)) for row, sha256 in brought]
        accepted.accept(session, here, taken)
    with db.read() as session:
        assert session.scalars(select(Image.sha256).order_by(Image.id)).all() == [B, C, A]


def test_a_picture_comes_in_while_its_study_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.write() as session:
        before = study(session, of_the_series())
        made = job(session, "a.png")
        row = session.scalars(select(Entry)).one()

    def comes_in() -> None:
        with db.write() as session:
            accepted.accept(session, here, [(leaf(row.id, A), session.get_one(Entry, row.id))])

    with place(made.id, tmp_path) as here, beside(comes_in) as comes:
        stops(monkeypatch, deletion, "extent", comes)  # the study is held, and still there
        delete(before)
    with db.read() as session:
        assert session.scalars(select(Image.sha256)).all() == [A]
        assert session.scalars(select(Study.key)).all() == [of_the_series()]


def test_two_uploads_bring_what_was_referred_to_in_another_order(tmp_path: Path) -> None:
    with db.write() as session:
        study_id = study(session)
        first, second = (image(session, study_id, sha256, path=f"/files/{sha256[:1]}.png") for sha256 in (A, B))
        made = job(session, "b.png", "a.png")
        rows = session.scalars(select(Entry).order_by(Entry.id)).all()

    def other() -> None:
        with db.write() as session:
            taken = []
            for row, known in zip(rows, (second, first), strict=True):
                one = Leaf(Member(row.name, 1), row.id, sha256=known.sha256, known=[known])
                taken.append((one, session.get_one(Entry, row.id)))
            accepted.expect_known(session, [one for one, _ in taken])
            accepted.accept(session, here, taken)

    with place(made.id, tmp_path, referred=False) as here, beside(other) as comes, db.write() as session:
        session.execute(update(Image).where(Image.id == first.id).values(path=None))
        comes()
        session.execute(update(Image).where(Image.id == second.id).values(path=None))
    with db.read() as session:
        assert session.scalars(select(Image.path)).all() == [None, None]
        assert session.scalar(select(func.count()).where(Entry.image_id.is_not(None))) == 2


def test_a_study_goes_whose_blob_is_pardoned_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice needs a condemned derivative and a study; a deletion holds the study and condemns the derivative."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "one.png").write_bytes(png(1))
    with db.write() as session:
        first, second = job(session).id, job(session).id
    take_in(first, folder)
    again = PngInfo()
    again.add_text("Comment", "other bytes of the same pixels")
    Picture.open(folder / "one.png").save(folder / "two.png", pnginfo=again)
    with db.write() as session:
        known = session.scalars(select(Image)).one()
        jobs.cancel(session, first, "a test")
        orphans.condemn(session, "derivatives", [known.derivative])

    with beside(lambda: delete(known.study_id)) as comes:
        stops(monkeypatch, accepted, "expect_known", comes)
        with pytest.raises(orphans.BlobGone):
            take_in(second, folder)
    take_in(second, folder)
    with db.read() as session:
        found = session.scalars(select(Image)).all()
        assert len(found) == 2 and {image.derivative for image in found} == {known.derivative}
        assert session.scalar(select(func.count()).where(Condemned.kind == "derivatives")) == 0


def test_a_sweep_forgets_blobs_that_come_in_again() -> None:
    long_ago = now() - timedelta(days=9)
    with db.write() as session:
        for sha256 in (B, A):
            gone = {"found_at": long_ago, "going_at": long_ago, "gone_at": long_ago}
            session.add(Condemned(kind="originals", sha256=sha256, **gone))
            session.flush()

    with beside(lambda: orphans.remove(blobs.store())) as comes, db.write() as session:
        orphans.pardon(session, [("originals", A)], now())
        comes()
        orphans.pardon(session, [("originals", B)], now())
    with db.read() as session:
        assert session.scalars(select(Condemned)).all() == []


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


def test_what_was_in_hand_is_given_back_while_it_is_tried_again(tmp_path: Path) -> None:
    with db.write() as session:
        made = job(session, "a.png", "b.png")
        first, second = session.scalars(select(Entry.id).order_by(Entry.id))
        lies_last(session, Entry, first)

    with place(made.id, tmp_path) as here:
        piece = intake.Slice(here, [])
        piece.leaves = [Leaf(Member("a.png", 1), first), Leaf(Member("b.png", 1), second)]
        with beside(piece.forgive) as comes, db.write() as session:
            session.execute(text("SET LOCAL deadlock_timeout = 10"))  # whoever gives back would try again
            jobs.pause(session, made.id, "a test")
            lock(session, Entry, first)
            comes()
            lock(session, Entry, second)
    with db.read() as session:
        assert session.scalars(select(Entry.attempts)).all() == [0, 0]


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
