"""Object stores, against a real server of their protocol and its faults: as a source of an ingest, as the store."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import pytest
from s3_fixtures import BUSY, DENIED, Bucket, passes
from sqlalchemy import select
from stack_fixtures import register
from steps import png, screen_all

from cxrscreen import blobs, db, jobs, schema, sources
from cxrscreen.settings import Settings
from cxrscreen.tables import Entry, Image, JobKind, JobState
from worker import ingest, screen

COUNT = 6


@pytest.fixture
def ready(configure: Callable[..., Settings], bucket: Bucket, phantom_bundle: Path) -> int:
    """A store in the bucket with a model in it, and pictures beside it; answers a job over those."""
    settings = configure(store_url=f"{bucket.url}/store", batch_size=2)
    settings.data_dir.mkdir()
    schema.upgrade(db.get_engine())
    version = register(phantom_bundle)
    for number in range(COUNT):
        bucket.put(f"in/{number}.png", png(number))
    place = f"{bucket.url}/in"
    with db.write() as session:
        return jobs.create(session, JobKind.FOLDER, "a test", version.id, sources=[{"path": place, "label": place}]).id


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "PAUSE_SECONDS", 0)


def state(job_id: int) -> tuple[JobState, jobs.Account]:
    with db.read() as session:
        return jobs.get(session, job_id).state, jobs.account(session, job_id)


def whole(bucket: Bucket, kind: str) -> dict[str, bytes]:
    """The blobs of a kind, each under the hash of its bytes."""
    found = bucket.content(f"store/{kind}")
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in found.items())
    return found


def answered(job_id: int) -> int:
    account = state(job_id)[1]
    return account.scored + account.reasons.get("unlike_training", 0)


def test_everything_lies_in_object_stores(ready: int, bucket: Bucket) -> None:
    ingest.run(ready)
    screen_all()
    assert state(ready)[0] == JobState.DONE and answered(ready) == COUNT
    with db.read() as session:
        images = session.scalars(select(Image)).all()
        names = set(session.scalars(select(Entry.name)))
    assert names == {image.path for image in images}
    assert {image.path for image in images} == {f"{bucket.url}/in/{number}.png" for number in range(COUNT)}
    for image in images:
        assert sources.is_there(image.path or "") and sources.read(image.path or "")
    assert {image.derivative for image in images} == set(whole(bucket, "derivatives"))
    assert not whole(bucket, "originals")


def test_originals_are_copied_into_the_store_when_the_setting_says_so(
    ready: int, bucket: Bucket, configure: Callable[..., Settings]
) -> None:
    configure(copy_folder_files=True)
    ingest.run(ready)
    assert set(whole(bucket, "originals")) == {hashlib.sha256(png(number)).hexdigest() for number in range(COUNT)}


@pytest.mark.parametrize("status", [BUSY, DENIED])
@pytest.mark.parametrize("where", ["/store/", "/in"])
def test_a_service_that_fails_in_the_middle_loses_nothing(ready: int, bucket: Bucket, status: str, where: str) -> None:
    asked = 0

    def fails(_method: str, path: str) -> str | None:
        nonlocal asked
        asked += where in f"{path}/"
        return status if asked > 5 and where in f"{path}/" else None

    bucket.service.fault = fails
    if (where, status) == ("/in", DENIED):
        # One object after another is refused while the rest may be read: those are rejected with that reason.
        bucket.service.fault = lambda _method, path: status if path.endswith("/3.png") else None
    ingest.run(ready)
    if (where, status) == ("/in", DENIED):
        screen_all()
        assert state(ready)[0] == JobState.DONE and answered(ready) == COUNT - 1
        assert state(ready)[1].reasons["unreadable"] == 1
        return
    found = state(ready)
    assert found[0] == JobState.RUNNING and not found[1].rejected and not found[1].failed
    bucket.service.fault = passes
    with db.write() as session:
        assert jobs.get(session, ready).lease_until is None, "it was given back"
    ingest.run(ready)
    screen_all()
    assert state(ready)[0] == JobState.DONE and answered(ready) == COUNT
    assert len(whole(bucket, "derivatives")) == COUNT


def test_a_store_that_fails_while_it_screens_fails_no_image(ready: int, bucket: Bucket) -> None:
    ingest.run(ready)
    bucket.service.fault = lambda _method, path: BUSY if "/derivatives/" in path else None
    screen.run()
    assert state(ready)[1].waiting == COUNT
    bucket.service.fault = passes
    screen_all()
    assert answered(ready) == COUNT


@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_disk_that_takes_nothing_more_is_waited_for(
    configure: Callable[..., Settings], phantom_bundle: Path, tmp_path: Path, trouble: int
) -> None:
    """It is full, read-only by now, or somebody else's."""
    configure(batch_size=2, copy_folder_files=True).data_dir.mkdir()
    schema.upgrade(db.get_engine())
    version = register(phantom_bundle)
    (tmp_path / "in").mkdir()
    for number in range(COUNT):
        (tmp_path / "in" / f"{number}.png").write_bytes(png(number))
    source = {"path": str(tmp_path / "in"), "label": "in"}
    with db.write() as session:
        job_id = jobs.create(session, JobKind.FOLDER, "a test", version.id, sources=[source]).id
    write, written = blobs.Blobs._appearing, 0

    def refused(self: blobs.Blobs, target: Path, durable: bool) -> AbstractContextManager[IO[bytes]]:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(trouble, os.strerror(trouble))
        return write(self, target, durable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs.Blobs, "_appearing", refused)
        ingest.run(job_id)
    found = state(job_id)
    assert found[0] == JobState.RUNNING and 0 < found[1].waiting == found[1].found
    assert os.strerror(trouble) in (ingest.runtime.INGESTING.last_error or ""), "the system page says why"
    ingest.run(job_id)
    screen_all()
    assert state(job_id)[0] == JobState.DONE and answered(job_id) == COUNT


def test_a_bucket_that_is_gone_is_no_empty_store(ready: int, bucket: Bucket) -> None:
    ingest.run(ready)
    store = blobs.Blobs(f"{bucket.url}/elsewhere")
    with pytest.raises(blobs.StoreAway):
        store.require()
