"""What comes in meets over the same rows in one order: other ingests, deletions, what is condemned (`meetings`)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from meetings import beside, in_heap_order, lies_last, lock, stops
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import func, select, text, update
from steps import png
from test_cxrscreen_locks_archive import A, B, delete, image, job, study

from cxrscreen import blobs, db, deletion, jobs, orphans, sources, studies
from cxrscreen.imaging import Facts, Member, Prepared
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Condemned,
    Entry,
    Image,
    JobState,
    Study,
    now,
)
from worker import accepted, ingest, intake
from worker.leaves import Leaf, Place
from worker.trial import Trial

C = "c" * 64


@pytest.fixture(autouse=True)
def database(postgres_database: Settings) -> None:
    in_heap_order()
    blobs.store().put("models", b"so that the store is there")


@contextmanager
def place(job_id: int, folder: Path, *, referred: bool = True) -> Iterator[Place]:
    """Where one takes in who holds the job's sources."""
    with db.write() as session:
        held = jobs.get(session, job_id)
        held.state, held.worker = JobState.RUNNING, "reader"
    with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as writers, Trial() as trial:
        yield Place(held, "reader", sources.at(str(folder)), referred, readers, writers, trial)


def leaf(entry_id: int, sha256: str) -> Leaf:
    """A file of one study with others, read and written."""
    facts = Facts(kind="png", width=8, height=8, bits=8, photometric="MONOCHROME2", study_uid="1.2.3")
    made = Leaf(Member(f"{sha256[:1]}.png", 1), entry_id, sha256=sha256)
    made.frames, made.derivatives = [Prepared(0, 1, facts, None, None)], {0: sha256}
    return made


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
