"""An uploaded file goes once the store has all of its pictures, and stays while trying something again needs it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dashboard_fixtures import PASSWORD, Browser
from sqlalchemy import select, update
from stack_fixtures import register
from steps import entries_of, png, screen_all
from test_cxrscreen_deletion import archive, study_of, upload
from test_cxrscreen_orphans import let_time_pass

from cxrscreen import blobs, clearing, db, deletion, entries, inventory, jobs, orphans, retries, sources, users
from cxrscreen.inventory import Trouble
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Entry, EntryStatus, Image, Job, JobKind, JobState, Role, Upload, now
from dashboard import create_app
from worker import ingest, tidy


@pytest.fixture
def model(database: Settings, screener_once: None, phantom_bundle: Path) -> int:
    return register(phantom_bundle).id


def group(model_id: int, files: dict[str, bytes]) -> int:
    """One job of several uploaded files, read and screened."""
    with db.write() as session:
        made = []
        for name, data in files.items():
            row = Upload(name=name, size=len(data), sha256=blobs.store().put("uploads", data))
            session.add(row)
            session.flush()
            made.append({"upload": row.id, "label": name})
        job_id = jobs.create(session, JobKind.UPLOAD, "several", model_id, sources=made).id
    ingest.run(job_id)
    screen_all()
    return job_id


def days_pass(job_id: int, days: float = 3) -> None:
    with db.write() as session:
        ended = jobs.get(session, job_id).finished_at
        assert ended is not None
        session.execute(update(Job).where(Job.id == job_id).values(finished_at=ended - timedelta(days=days)))


def uploaded(data: bytes) -> bool:
    """The uploaded file is in the store, once the sweep has removed what nothing names."""
    let_time_pass()
    orphans.remove(blobs.store())
    return blobs.store().exists("uploads", hashlib.sha256(data).hexdigest())


def test_an_upload_goes_after_its_days_and_its_pictures_stay(model: int) -> None:
    data = archive(png(1), png(2), png(1))
    job_id = upload(data, model)
    assert clearing.run(blobs.store()) == 0, "nothing is scored yet"
    screen_all()
    assert clearing.run(blobs.store()) == 0, "two days have not gone by"
    with db.read() as session:
        before = jobs.account(session, job_id)
        rows = list(entries.rows(session, job_id))
    days_pass(job_id)
    assert clearing.run(blobs.store()) == 1 and clearing.run(blobs.store()) == 0
    assert not uploaded(data)
    with db.read() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "job.clear")).one()
        assert (event.subject, event.detail) == (f"job {job_id}", {"uploads": 1, "bytes": len(data), "images": 2})
        assert jobs.account(session, job_id) == before and list(entries.rows(session, job_id)) == rows
        images = session.scalars(select(Image).order_by(Image.id)).all()
        job = jobs.get(session, job_id)
    assert [sources.original(image.path, image.sha256) for image in images] == [png(1), png(2)]
    told = clearing.of_job(job)
    assert told is not None and (told.files, told.of, told.images) == (1, 1, 2)
    assert list(inventory.inspect(blobs.store(), inventory.Count())) == []


def test_a_kill_between_the_rows_and_the_blob_changes_nothing(model: int) -> None:
    data = archive(png(1))
    days_pass(upload_and_screen(data, model))
    clearing.run(blobs.store())
    # The rows are committed and nobody came to remove the blob: the next sweep does.
    found = list(inventory.inspect(blobs.store(), inventory.Count()))
    assert [(each.trouble, each.kind) for each in found] == [(Trouble.ORPHAN, "uploads")]
    assert not uploaded(data)


def test_a_kill_before_the_commit_leaves_everything(model: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive(png(1))
    job_id = upload_and_screen(data, model)
    days_pass(job_id)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(clearing.audit, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            clearing.run(blobs.store())
    with db.read() as session:
        job = jobs.get(session, job_id)
        assert clearing.of_job(job) is None and session.scalars(select(Upload.removed_at)).all() == [None]
    assert uploaded(data)
    assert clearing.run(blobs.store()) == 1 and not uploaded(data)


def upload_and_screen(data: bytes, model_id: int, name: str = "night.zip") -> int:
    job_id = upload(data, model_id, name)
    screen_all()
    return job_id


def test_what_was_set_aside_keeps_its_file_until_it_is_settled(model: int) -> None:
    mixed = archive(png(3), b"no picture at all")
    files = {"clean.zip": archive(png(1), png(2)), "mixed.zip": mixed, "one.png": png(4)}
    job_id = group(model, files)
    days_pass(job_id)
    assert clearing.run(blobs.store()) == 2
    assert not uploaded(files["clean.zip"]) and not uploaded(files["one.png"]) and uploaded(files["mixed.zip"])
    with db.read() as session:
        told = clearing.of_job(jobs.get(session, job_id))
        assert told is not None and (told.files, told.of, told.images) == (2, 3, 3)
        aside = session.scalars(select(Entry.id).where(Entry.status == EntryStatus.REJECTED)).all()
    # Trying it again walks the job's files, and passes by those that went.
    with db.write() as session:
        assert retries.chosen(session, aside, "a test", blobs.store()).by_job == {job_id: 1}
    assert clearing.run(blobs.store()) == 0, "the job is open"
    ingest.run(job_id)
    screen_all()
    with db.read() as session:
        job, account = jobs.get(session, job_id), jobs.account(session, job_id)
    assert (job.state, job.error) == (JobState.DONE, None)
    assert (account.scored, account.rejected, account.found) == (4, 1, 5)
    # As if a later version could read it:
    with db.write() as session:
        session.execute(update(Entry).where(Entry.id.in_(aside)).values(status=EntryStatus.SCORED))
    days_pass(job_id)
    assert clearing.run(blobs.store()) == 1 and not uploaded(files["mixed.zip"])


def test_a_picture_refused_by_the_screening_is_tried_again_without_its_file(model: int) -> None:
    data = archive(png(1))
    job_id = upload_and_screen(data, model)
    with db.write() as session:
        entry = session.scalars(select(Entry)).one()
        entries.reject(session, entry, "unlike_training", model_version_id=model)
    days_pass(job_id)
    assert clearing.run(blobs.store()) == 1 and not uploaded(data)
    with db.write() as session:
        assert retries.chosen(session, [entry.id], "a test", blobs.store()).by_job == {job_id: 1}
    ingest.run(job_id)
    screen_all()
    assert entries_of(job_id) == {"night.zip/0.png": EntryStatus.SCORED}


def test_a_file_stays_while_the_store_lacks_one_of_its_pictures(model: int) -> None:
    data = archive(png(1), png(2))
    job_id = upload_and_screen(data, model)
    days_pass(job_id)
    lost = hashlib.sha256(png(2)).hexdigest()
    blobs.store().delete("originals", lost)
    assert clearing.run(blobs.store()) == 0 and uploaded(data)
    blobs.store().put("originals", png(2))
    assert clearing.run(blobs.store()) == 1


def test_one_who_tries_again_meanwhile_goes_first(model: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive(png(1))
    job_id = upload_and_screen(data, model)
    days_pass(job_id)
    look = clearing.look

    def opened_after(*arguments: Any, **options: bool) -> dict[str, clearing.Held]:
        found = look(*arguments, **options)
        with db.write() as session:
            session.execute(update(Job).values(state=JobState.RUNNING, finished_at=None))
        return found

    monkeypatch.setattr(clearing, "look", opened_after)
    assert clearing.run(blobs.store()) == 0 and uploaded(data)


def test_the_same_file_sent_twice_stays_for_the_second_job(model: int) -> None:
    data = archive(png(1))
    first, second = upload_and_screen(data, model), upload_and_screen(data, model, "again.zip")
    days_pass(first)
    assert clearing.run(blobs.store()) == 1 and uploaded(data)
    days_pass(second)
    assert clearing.run(blobs.store()) == 1 and not uploaded(data)
    third = upload_and_screen(data, model, "later.zip")
    assert entries_of(third) == {"later.zip/0.png": EntryStatus.SCORED}


def test_studies_of_a_cleared_file_are_deleted_like_others(model: int) -> None:
    data = archive(png(1), png(2))
    days_pass(upload_and_screen(data, model))
    clearing.run(blobs.store())
    with db.write() as session:
        going = deletion.delete_study(session, study_of(png(1)), "a test")
    assert going.uploads == [] and not uploaded(data)
    assert not blobs.store().exists("originals", hashlib.sha256(png(1)).hexdigest())
    assert blobs.store().exists("originals", hashlib.sha256(png(2)).hexdigest())


@pytest.mark.parametrize("never", [{"clear_upload_days": 0}, {"orphan_hours": 0}])
def test_settings_keep_uploads_for_ever(model: int, configure: Callable[..., Settings], never: dict[str, int]) -> None:
    days_pass(upload_and_screen(archive(png(1)), model), 1000)
    configure(**never)
    assert clearing.run(blobs.store()) == 0
    configure(**dict.fromkeys(never, 1))
    assert clearing.run(blobs.store()) == 1


def test_the_sweep_clears_once_an_hour_and_the_page_says_so(model: int, database: Settings) -> None:
    with db.write() as session:
        users.set_password(users.add(session, "operator", Role.OPERATOR), PASSWORD)
    blobs.store().put("models", b"so that the store is there")
    browser = Browser(create_app())
    browser.sign_in("operator")
    job_id = upload_and_screen(archive(png(1), png(2)), model)
    assert "job-cleared" not in browser.page(f"/jobs/{job_id}")
    days_pass(job_id)
    before = now()
    tidy.run()
    page = browser.page(f"/jobs/{job_id}")
    assert "with its 2 images in the store" in page
    day = re.search(r"cleared on <time[^>]*>(\d{4}-\d\d-\d\d) ", page)
    assert day and f"{before:%Y-%m-%d}" <= day[1] <= f"{now():%Y-%m-%d}"
    assert "uploaded files cleared" in page
    second = upload_and_screen(archive(png(3)), model, "second.zip")
    days_pass(second)
    tidy.run()
    assert "job-cleared" not in browser.page(f"/jobs/{second}"), "not within the hour"
