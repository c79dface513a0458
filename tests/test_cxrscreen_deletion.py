"""A study goes with all that is its own and nothing of anybody else's; retention never takes one that waits."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from dashboard_fixtures import Site, done_job, scored
from sqlalchemy import func, select, update
from stack_fixtures import register
from steps import entries_of, png, screen_all
from test_cxrscreen_orphans import let_time_pass

from cxrscreen import blobs, db, deletion, entries, jobs, orphans, retention, studies, users
from cxrscreen.cli import cli
from cxrscreen.errors import Conflict, NotFound
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    AuditEvent,
    Condemned,
    Draw,
    Entry,
    EntryStatus,
    Image,
    JobKind,
    Rejection,
    Result,
    Review,
    Role,
    Study,
    StudyResult,
    Upload,
    Verdict,
    now,
)
from worker import ingest, nightly


def archive(*pictures: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        for number, data in enumerate(pictures):
            file.writestr(f"{number}.png", data)
    return held.getvalue()


def upload(data: bytes, model_id: int, name: str = "night.zip") -> int:
    sha256 = blobs.store().put("uploads", data)
    with db.write() as session:
        row = Upload(name=name, size=len(data), sha256=sha256)
        session.add(row)
        session.flush()
        sources = [{"upload": row.id, "label": name}]
        job_id = jobs.create(session, JobKind.UPLOAD, name, model_id, sources=sources).id
    ingest.run(job_id)
    return job_id


def study_of(data: bytes) -> int:
    with db.read() as session:
        return session.scalars(select(Image.study_id).where(Image.sha256 == hashlib.sha256(data).hexdigest())).one()


def test_a_study_goes_with_its_own_and_comes_in_anew(database: Settings, phantom_bundle: Path) -> None:
    model_id = register(phantom_bundle).id
    blobs.store().put("models", b"so that the store is there")
    data = archive(png(1), png(2), png(1))
    job_id = upload(data, model_id)
    study_id = study_of(png(1))
    with pytest.raises(Conflict, match=f"Job {job_id} is still at work"), db.write() as session:
        deletion.delete_study(session, study_id, "a test")
    screen_all()
    with db.write() as session:
        before = jobs.account(session, job_id)
        reader = users.add(session, "reader", Role.READER)
        studies.review(session, studies.get(session, study_id), reader, Verdict.CONFIRMED, "Mr. X", None, None)
        image = session.scalars(select(Image).where(Image.study_id == study_id)).one()
    with db.write() as session:
        going = deletion.delete_study(session, study_id, "a test", "asked for")
    assert (going.images, going.results, going.verdicts, going.last_verdict) == (1, 1, 1, "confirmed")
    assert [kept.name for kept in going.uploads] == ["night.zip"]
    let_time_pass()
    assert orphans.remove(blobs.store()) == 3
    store = blobs.store()
    assert not store.exists("originals", image.sha256) and not store.exists("derivatives", image.derivative)
    assert not store.exists("uploads", hashlib.sha256(data).hexdigest())
    with db.read() as session:
        other = session.scalars(select(Image)).one()
        for table in (Result, StudyResult):
            assert session.scalars(select(table.image_id)).all() == [other.id]
        assert session.scalars(select(Review)).all() == []
        assert jobs.account(session, job_id) == before, "the account is as it was"
        rows = {row["file"]: row for row in entries.rows(session, job_id)}
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "study.delete")).one()
    assert store.exists("originals", other.sha256) and store.exists("derivatives", other.derivative)
    assert rows["night.zip/0.png"]["reason"] == entries.DELETED and rows["night.zip/1.png"]["score"] is not None
    assert event.detail["sha256"] == [image.sha256] and event.detail["last_verdict"] == "confirmed"
    assert "Mr. X" not in str(event.detail)
    with pytest.raises(NotFound), db.write() as session:
        deletion.delete_study(session, study_id, "a test")

    again = upload(archive(png(1)), model_id, "again.zip")
    screen_all()
    assert entries_of(again) == {"again.zip/0.png": EntryStatus.SCORED}
    assert store.exists("originals", image.sha256)
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Result)) == 2
        assert session.scalars(select(Review)).all() == [], "no verdict of the deleted one comes back"


def test_what_others_stand_on_stays(database: Settings) -> None:
    site = Site()
    with db.write() as session:
        job = done_job(session, site.model_id)
        one = scored(session, "one", [0.9], site.model_id, job)
        two = scored(session, "two", [0.8], site.model_id, job)
        shared = blobs.store().put("derivatives", b"the same small picture")
        session.execute(update(Image).values(derivative=shared))
        # Refused by a later screening: the reason belongs to the account of that job.
        image = session.scalars(select(Image).where(Image.study_id == one.id)).one()
        entry = session.scalars(select(Entry).where(Entry.image_id == image.id)).one()
        entries.reject(session, entry, "unlike_training", model_version_id=site.model_id)
        before = jobs.account(session, job.id)
    with db.write() as session:
        deletion.delete_study(session, one.id, "a test")
    let_time_pass()
    orphans.remove(blobs.store())
    assert blobs.store().exists("derivatives", shared)
    with db.read() as session:
        assert jobs.account(session, job.id) == before and before.reasons == {"unlike_training": 1}
        assert session.scalars(select(Rejection.image_id)).all() == [None]
        assert session.scalars(select(Study.id)).all() == [two.id]


def test_a_picture_that_is_deleted_while_it_comes_in_again_is_read_anew(
    database: Settings, phantom_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker import intake

    monkeypatch.setattr(ingest, "PAUSE_SECONDS", 0.0)
    model_id = register(phantom_bundle).id
    blobs.store().put("models", b"so that the store is there")
    upload(archive(png(1)), model_id, "first.zip")
    screen_all()
    decode = intake.Slice.decode
    deleted: list[int] = []

    def deleted_after(piece: intake.Slice, before: intake.Slice | None = None) -> None:
        decode(piece, before)  # what is known has been looked up
        if not deleted:
            with db.write() as session:
                deleted.append(deletion.delete_study(session, study_of(png(1)), "a test").images)

    monkeypatch.setattr(intake.Slice, "decode", deleted_after)
    job_id = upload(archive(png(1)), model_id, "second.zip")
    assert deleted == [1] and entries_of(job_id) == {"second.zip/0.png": EntryStatus.WAITING}
    ingest.run(job_id)
    screen_all()
    assert entries_of(job_id) == {"second.zip/0.png": EntryStatus.SCORED}
    with db.read() as session:
        image = session.scalars(select(Image)).one()
    let_time_pass()
    orphans.remove(blobs.store())
    assert blobs.store().exists("originals", image.sha256) and blobs.store().exists("derivatives", image.derivative)


def test_retention_takes_the_old_and_leaves_what_waits(database: Settings, configure: Callable[..., Settings]) -> None:
    site = Site()
    old, fresh = now() - timedelta(days=40), now()
    with db.write() as session:
        job = done_job(session, site.model_id)
        made = {
            name: scored(session, name, [score], site.model_id, job)
            for name, score in (
                ("old", 0.1), ("flagged", 0.9), ("confirmed", 0.9), ("unsure", 0.9), ("just read", 0.9),
                ("new picture", 0.1), ("waits", 0.1), ("new", 0.1), ("drawn", 0.1), ("half read", 0.1),
            )
        }  # fmt: skip
        ids = {name: study.id for name, study in made.items()}
        reader = users.get(session, "reader")
        for name, verdict in (("confirmed", "confirmed"), ("unsure", "unsure"), ("just read", "dismissed")):
            studies.review(session, made[name], reader, Verdict(verdict), "", site.model_id, None)
        session.execute(update(Study).where(Study.id != ids["new"]).values(created_at=old))
        session.execute(update(Image).where(Image.study_id != ids["new picture"]).values(created_at=old))
        session.execute(update(Review).where(Review.study_id != ids["just read"]).values(created_at=old))
        session.execute(update(StudyResult).values(draw=None))
        mine = StudyResult.study_id
        session.execute(update(StudyResult).where(mine == ids["drawn"]).values(draw=Draw.SAMPLE))
        session.execute(update(StudyResult).where(mine == ids["half read"]).values(first_reader_id=reader.id))
        waiting = select(Image.id).where(Image.study_id == ids["waits"])
        session.execute(update(Entry).where(Entry.image_id.in_(waiting)).values(status=EntryStatus.WAITING))
        job.state = "running"
    assert retention.run(fresh) == 0, "off by default"
    configure(retention_days=30)
    nightly.run(fresh)
    with db.read() as session:
        left = set(session.scalars(select(Study.label)))
        actors = session.scalars(select(AuditEvent.actor).where(AuditEvent.action == "study.delete")).all()
    assert left == set(ids) - {"old", "confirmed"}
    assert list(actors) == [retention.ACTOR] * 2


def test_an_administrator_deletes_from_the_page_and_from_the_command_line(either_site: Site) -> None:
    site = either_site
    with db.write() as session:
        job = done_job(session, site.model_id)
        one, two = (scored(session, name, [0.9, 0.2], site.model_id, job) for name in ("one", "two"))
    admin, reader = site.browser("admin"), site.browser("reader")
    url = f"/studies/{one.id}/delete"
    assert "Delete this study" in admin.page(f"/studies/{one.id}?state=all")
    assert "Delete this study" not in reader.page(f"/studies/{one.id}?state=all")
    assert reader.get(url).status_code == 403 and reader.post(url, {"why": "x"}).status_code == 403
    assert "images: 2, results: 2" in admin.page(url)
    assert admin.post(url).status_code == 400, "nothing without a reason"
    assert admin.post(url, {"why": "withdrew consent"}).status_code == 302
    assert admin.get(url).status_code == 404
    assert "The study was deleted." in admin.page(f"/jobs/{job.id}/entries")
    runner = CliRunner()
    assert runner.invoke(cli, ["archive", "delete", str(two.id)], input="n\n").exit_code != 0
    with db.read() as session:
        assert session.get(Study, two.id) is not None
    assert runner.invoke(cli, ["archive", "delete", str(two.id), "--yes", "--why", "old"]).exit_code == 0
    with db.read() as session:
        assert session.scalars(select(Study)).all() == []
        told = session.scalars(select(AuditEvent).where(AuditEvent.action == "study.delete")).all()
        assert [(event.actor, event.detail["why"]) for event in told] == [
            ("admin", "withdrew consent"),
            ("command line", "old"),
        ]
        assert session.scalar(select(func.count()).select_from(Condemned)) == 8
