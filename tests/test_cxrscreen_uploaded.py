"""A person clears uploaded files that trying again would need; what is given up is told, and never waits for ever."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dashboard_fixtures import Browser, Site
from sqlalchemy import insert, select, update
from stack_fixtures import Done, register
from steps import entries_of, job_over, png, screen_all
from test_cxrscreen_clearing import days_pass, group, upload_and_screen, uploaded
from test_cxrscreen_deletion import archive, study_of, upload

from cxrscreen import blobs, clearing, db, deletion, entries, inventory, jobs, quarantine, retries
from cxrscreen import uploaded as by_hand
from cxrscreen.errors import Conflict, UsageError
from cxrscreen.imaging.reasons import Reason
from cxrscreen.inventory import Trouble
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Entry, EntryStatus, Image, Job, JobState, Rejection, Upload, User
from worker import ingest

README = b"no picture at all"


@pytest.fixture
def model(database: Settings, screener_once: None, phantom_bundle: Path) -> int:
    blobs.store().put("models", b"so that the store is there")
    return register(phantom_bundle).id


def cleared_by_hand(job_id: int, who: str = "a test") -> by_hand.LetGo:
    return by_hand.clear(blobs.store(), job_id, who)


def try_failed(job_id: int) -> retries.Tried:
    """Of a job that ended: the page offers it where, and only where, there is something to try."""
    with db.read() as session:
        offered = retries.offered(session, jobs.get(session, job_id))
    try:
        tried = try_seen(job_id)
    except Conflict:
        assert not offered
        raise
    assert offered
    return tried


def try_seen(job_id: int) -> retries.Tried:
    with db.write() as session:
        return retries.failed(session, job_id, "a test")


def try_chosen(ids: list[int]) -> retries.Tried:
    with db.write() as session:
        return retries.chosen(session, ids, "a test", blobs.store())


def id_of(job_id: int, name: str) -> int:
    with db.read() as session:
        return session.scalars(select(Entry.id).where(Entry.job_id == job_id, Entry.name == name)).one()


def fails(job_id: int, name: str) -> None:
    """As if it had ended by our fault."""
    with db.write() as session:
        entry = session.get_one(Entry, id_of(job_id, name))
        entries.reject(session, entry, Reason.INTERNAL, status=EntryStatus.FAILED)


def state_of(job_id: int) -> tuple[JobState, jobs.Account]:
    with db.read() as session:
        account = jobs.account(session, job_id)
        found = len(session.scalars(select(Entry.id).where(Entry.job_id == job_id)).all())
        assert account.found == found, "the account sums up"
        return jobs.get(session, job_id).state, account


def test_one_refused_member_no_longer_keeps_an_archive_for_ever(model: int) -> None:
    data = archive(png(1), README, png(2), README)
    job_id = upload_and_screen(data, model)
    days_pass(job_id, 1000)
    assert clearing.run(blobs.store()) == 0 and uploaded(data)
    before = state_of(job_id)
    with db.read() as session:
        job = jobs.get(session, job_id)
        assert by_hand.clearable(session, job) == by_hand.Standing(1, len(data))
        assert by_hand.stake(session, job) == by_hand.Stake({"rejected": 1}, unread=False)
    assert cleared_by_hand(job_id, "Dr. K.") == by_hand.LetGo(1, len(data), {"rejected": 1}, [])
    assert not uploaded(data) and state_of(job_id) == before
    with db.read() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "job.clear")).one()
        told = {"uploads": 1, "bytes": len(data), "images": 2, "rejected": 1}
        assert (event.actor, event.subject, event.detail) == ("Dr. K.", f"job {job_id}", told)
        job = jobs.get(session, job_id)
        cleared = clearing.of_job(job)
        assert cleared is not None and (cleared.images, cleared.given_up, cleared.unread) == (2, 1, False)
        assert by_hand.clearable(session, job) is None
        for image in session.scalars(select(Image)):
            assert blobs.store().exists("originals", image.sha256)
    assert list(inventory.inspect(blobs.store(), inventory.Count())) == []
    # The refused one is left as it ended, by whichever door it is tried.
    assert try_chosen([id_of(job_id, "night.zip/1.png")]) == retries.Tried({}, left=0, cleared=1)
    with pytest.raises(Conflict, match="nothing that failed"):
        try_failed(job_id)
    assert state_of(job_id) == before


def test_a_retry_after_a_clear_reads_what_is_left_and_leaves_what_is_not(model: int) -> None:
    gone, stays = archive(png(1), README, png(2)), archive(png(3), b"another text", png(4))
    job_id = group(model, {"gone.zip": gone, "stays.zip": stays})
    blobs.store().delete("originals", hashlib.sha256(png(4)).hexdigest())
    for name in ("gone.zip/1.png", "gone.zip/2.png", "stays.zip/1.png"):
        fails(job_id, name)
    found = state_of(job_id)[1].found
    told = cleared_by_hand(job_id)
    assert (told.files, told.entries, told.stay) == (1, {"failed": 1}, ["stays.zip"])
    assert uploaded(stays) and not uploaded(gone)
    with pytest.raises(Conflict, match=r"lacks the original .* \(entries: 1\), so they stay: stays.zip"):
        cleared_by_hand(job_id)

    # A picture whose original is in the store, and what stands in the file that stayed.
    assert try_failed(job_id) == retries.Tried({job_id: 2}, cleared=1)
    state, account = state_of(job_id)
    assert (state, account.found, account.waiting, account.failed) == (JobState.RUNNING, found, 2, 1)
    ingest.run(job_id)
    screen_all()
    state, account = state_of(job_id)
    assert (state, account.found, account.waiting) == (JobState.DONE, found, 0)
    assert entries_of(job_id) == {
        "gone.zip/0.png": EntryStatus.SCORED,
        "gone.zip/1.png": EntryStatus.FAILED,
        "gone.zip/2.png": EntryStatus.SCORED,
        "stays.zip/0.png": EntryStatus.SCORED,
        "stays.zip/1.png": EntryStatus.REJECTED,
        "stays.zip/2.png": EntryStatus.SCORED,
    }
    with pytest.raises(Conflict, match=r"which was cleared: 1\. Upload it again"):
        try_failed(job_id)
    both = [id_of(job_id, "gone.zip/1.png"), id_of(job_id, "stays.zip/1.png")]
    assert try_chosen(both) == retries.Tried({job_id: 1}, left=0, cleared=1)
    ingest.run(job_id)
    screen_all()
    assert state_of(job_id)[0] == JobState.DONE


def test_of_a_cancelled_job_pictures_are_tried_again_and_the_rest_is_given_up(model: int) -> None:
    data = archive(png(1), README, png(2))
    job_id = upload(data, model)
    with db.write() as session:
        jobs.cancel(session, job_id, "a test")
        # As if a kill had come before it was read.
        session.execute(update(Entry).where(Entry.name == "night.zip/2.png").values(image_id=None, batch_id=None))
    with db.read() as session:
        told = by_hand.stake(session, jobs.get(session, job_id))
    assert told == by_hand.Stake({"cancelled": 1, "rejected": 1}, unread=False)
    assert cleared_by_hand(job_id).entries == told.entries and not uploaded(data)
    assert try_failed(job_id) == retries.Tried({job_id: 1}, cleared=1)
    ingest.run(job_id)
    screen_all()
    state, account = state_of(job_id)
    assert (state, account.scored, account.rejected, account.cancelled) == (JobState.DONE, 1, 1, 1)


def test_a_job_that_was_never_read_is_not_opened_for_a_file_that_is_gone(model: int) -> None:
    data = archive(png(1))
    with db.write() as session:
        row = Upload(name="night.zip", size=len(data), sha256=blobs.store().put("uploads", data))
        session.add(row)
        session.flush()
        sources = [{"upload": row.id, "label": "night.zip"}]
        job_id = jobs.create(session, jobs.JobKind.UPLOAD, "night.zip", model, sources=sources).id
    with db.write() as session:
        jobs.cancel(session, job_id, "a test")
    with db.read() as session:
        assert by_hand.stake(session, jobs.get(session, job_id)) == by_hand.Stake({}, unread=True)
    assert cleared_by_hand(job_id).files == 1 and not uploaded(data)
    with pytest.raises(Conflict, match=r"were cleared\. Upload them again"):
        try_failed(job_id)
    with db.read() as session:
        job = jobs.get(session, job_id)
        told = clearing.of_job(job)
    assert job.state == JobState.CANCELLED and told is not None and told.unread


def test_a_file_that_went_with_a_study_is_passed_by_like_one_that_was_cleared(model: int) -> None:
    gone = archive(png(1), README, png(2))
    job_id = group(model, {"gone.zip": gone, "stays.zip": archive(png(3), b"another text")})
    for name in ("gone.zip/0.png", "gone.zip/1.png", "gone.zip/2.png", "stays.zip/1.png"):
        fails(job_id, name)
    with db.write() as session:
        deletion.delete_study(session, study_of(png(1)), "a test")
    assert not uploaded(gone)
    assert try_failed(job_id) == retries.Tried({job_id: 2}, cleared=2)
    ingest.run(job_id)
    screen_all()
    state, account = state_of(job_id)
    assert (state, account.scored, account.failed, account.rejected) == (JobState.DONE, 2, 2, 1)
    both = [id_of(job_id, name) for name in ("gone.zip/1.png", "stays.zip/1.png")]
    assert try_chosen(both) == retries.Tried({job_id: 1}, left=0, cleared=1)


def test_a_job_that_begins_after_its_file_is_gone_says_so(model: int) -> None:
    data = archive(png(1), README)
    upload_and_screen(data, model)
    with db.write() as session:
        row = Upload(name="again.zip", size=len(data), sha256=hashlib.sha256(data).hexdigest())
        session.add(row)
        session.flush()
        sources = [{"upload": row.id, "label": "again.zip"}]
        job_id = jobs.create(session, jobs.JobKind.UPLOAD, "again.zip", model, sources=sources).id
    with db.write() as session:
        deletion.delete_study(session, study_of(png(1)), "a test")
    assert not uploaded(data)
    ingest.run(job_id)
    with db.read() as session:
        job = jobs.get(session, job_id)
    assert (job.state, job.error) == (JobState.FAILED, "The upload 'again.zip' is no longer in the store.")
    with pytest.raises(Conflict, match=r"were cleared\. Upload them again"):
        try_failed(job_id)


def test_what_cannot_be_cleared_is_refused_and_told(
    model: int, configure: Callable[..., Settings], tmp_path: Path
) -> None:
    data = archive(png(1), README)
    job_id = upload(data, model)
    with pytest.raises(Conflict, match=f"Job {job_id} is running: let it end or cancel it"):
        cleared_by_hand(job_id)
    screen_all()
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.txt").write_bytes(README)
    folder = job_over(tmp_path / "f", model)
    ingest.run(folder)
    with pytest.raises(UsageError, match="files of folders and prefixes stay"):
        cleared_by_hand(folder)
    kept = hashlib.sha256(png(1)).hexdigest()
    blobs.store().delete("originals", kept)
    with pytest.raises(Conflict, match=r"lacks the original .* so they stay: night.zip"):
        cleared_by_hand(job_id)
    blobs.store().put("originals", png(1))
    configure(orphan_hours=0)
    with pytest.raises(Conflict, match="CXRSCREEN_ORPHAN_HOURS is 0"):
        cleared_by_hand(job_id)
    configure(orphan_hours=1)
    assert uploaded(data) and cleared_by_hand(job_id).files == 1
    with pytest.raises(Conflict, match=f"No uploaded file of job {job_id} is left"):
        cleared_by_hand(job_id)


def test_a_kill_leaves_all_of_the_rows_or_none(model: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive(png(1), README)
    job_id = upload_and_screen(data, model)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(clearing.audit, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            cleared_by_hand(job_id)
    with db.read() as session:
        assert clearing.of_job(jobs.get(session, job_id)) is None
        assert session.scalars(select(Upload.removed_at)).all() == [None]
    assert uploaded(data) and try_chosen([id_of(job_id, "night.zip/1.png")]).again == 1
    ingest.run(job_id)
    cleared_by_hand(job_id)
    # The rows are committed and nobody came to remove the blob: the next sweep does.
    found = list(inventory.inspect(blobs.store(), inventory.Count()))
    assert [(each.trouble, each.kind) for each in found] == [(Trouble.ORPHAN, "uploads")]
    assert not uploaded(data)


def test_one_who_tries_again_while_the_store_is_asked_goes_first(model: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive(png(1), README)
    job_id = upload_and_screen(data, model)
    look = clearing.look

    def tried_after(*arguments: Any, **options: bool) -> dict[str, clearing.Held]:
        found = look(*arguments, **options)
        assert try_chosen([id_of(job_id, "night.zip/1.png")]).again == 1
        ingest.run(job_id)  # the job has ended again by the time the rows are written
        return found

    monkeypatch.setattr(clearing, "look", tried_after)
    with pytest.raises(Conflict, match="was tried again meanwhile; nothing was cleared"):
        cleared_by_hand(job_id)
    assert uploaded(data) and state_of(job_id)[0] == JobState.DONE


@pytest.mark.parametrize("door", ["chosen", "failed"])
def test_one_who_tries_again_while_the_rows_are_written_sees_them(model: int, door: str) -> None:
    job_id = upload_and_screen(archive(png(1), README), model)
    fails(job_id, "night.zip/1.png")
    ids = [id_of(job_id, "night.zip/1.png")]
    said: list[object] = []

    def tries() -> None:
        try:
            said.append(try_chosen(ids) if door == "chosen" else try_seen(job_id))
        except Conflict as error:
            said.append(str(error))

    other = threading.Thread(target=tries)
    with db.read() as session:
        seen = jobs.get(session, job_id)
    held = clearing.look(blobs.store(), job_id, {"night.zip"})
    with db.write() as session:
        job = clearing.unchanged(session, seen)
        assert job is not None
        other.start()
        other.join(0.5)  # long enough to look at the rows as they were, were it not to wait
        assert clearing.let_go(session, job, held, "a test")
    other.join()
    if door == "chosen":
        assert said == [retries.Tried({}, left=0, cleared=1)]
    else:
        assert said == ["Entries that stood in an uploaded file which was cleared: 1. Upload it again to try them."]
    state, account = state_of(job_id)
    assert (state, account.failed, account.waiting) == (JobState.DONE, 1, 0)


def cleared_site(site: Site, data: bytes) -> int:
    """A done job with one picture in the store, and two files without one in the upload."""
    store = blobs.store()
    store.put("models", b"so that the store is there")
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        names = held.namelist()
    with db.write() as session:
        row = Upload(name="night.zip", size=len(data), sha256=store.put("uploads", data))
        session.add(row)
        session.flush()
        sources = [{"upload": row.id, "label": "night.zip"}]
        job_id = jobs.create(session, jobs.JobKind.UPLOAD, "night.zip", site.model_id, sources=sources).id
        for name in names:
            entry = Entry(job_id=job_id, name=f"night.zip/{name}")
            session.add(entry)
            session.flush()
            failed = EntryStatus.FAILED if name.startswith("0") else EntryStatus.REJECTED
            entries.reject(session, entry, Reason.NO_IMAGE, status=failed)
        ended = {"state": JobState.DONE, "listed": True, "finished_at": db.clock(session)}
        session.execute(update(Job).where(Job.id == job_id).values(ended))
    return job_id


def test_administrators_clear_on_the_page_of_the_job(either_site: Site) -> None:
    site, data = either_site, archive(b"one text", b"another")
    job_id = cleared_site(site, data)
    url = f"/jobs/{job_id}/clear"
    operator, admin = site.browser("operator"), site.browser("admin")
    assert "job-uploaded" not in operator.page(f"/jobs/{job_id}")
    assert operator.get(url).status_code == 403 and operator.post(url).status_code == 403
    assert "1 uploaded file is still in the store, " in admin.page(f"/jobs/{job_id}")
    page = admin.page(url)
    assert "2 entries without an image stand in the upload alone" in page
    assert 'entries?status=failed">failed</a>: 1' in page and 'entries?status=rejected">rejected</a>: 1' in page
    assert "surely read everything" not in page
    assert admin.post(url).status_code == 302
    page = admin.page(f"/jobs/{job_id}")
    assert "1 uploaded file was cleared, " in page and 'id="job-clear"' not in page
    assert "2 entries had no image and cannot be tried again." in page
    assert admin.get(url).location == f"/jobs/{job_id}", "there is nothing more to clear"
    assert admin.post(url).status_code == 409
    with db.read() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "job.clear")).one()
        me = session.scalars(select(User.id).where(User.name == "admin")).one()
        assert (event.actor, event.user_id) == ("admin", me)
    assert not uploaded(data)
    tries_in_vain(operator, job_id)


def tries_in_vain(browser: Browser, job_id: int) -> None:
    assert re.search(r'data-needs="retry"\s+hidden>', browser.page(f"/jobs/{job_id}")), "no page offers it"
    answer = browser.post(f"/jobs/{job_id}/retry")
    assert answer.status_code == 409 and "which was cleared: 1. Upload it again to try them." in answer.text
    ids = [str(id_of(job_id, f"night.zip/{number}.png")) for number in range(2)]
    assert browser.post("/quarantine/retry", {"entry": ids}).status_code == 302
    page = browser.page("/quarantine")
    assert "Nothing waits again. 2 entries stood in an uploaded file that was cleared; upload it again" in page
    assert "no longer where they were" not in page
    state, account = state_of(job_id)
    assert (state, account.failed, account.rejected, account.waiting) == (JobState.DONE, 1, 1, 0)


def test_the_command_line_asks_and_tells(
    either_site: Site, cli_here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = archive(b"one text", b"another")
    job_id = cleared_site(either_site, data)
    job = ("job", str(job_id), "--clear-uploads")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdin", io.StringIO("n\n"))
        done = cli_here(*job)
    assert done.returncode == 130 and "without them: 1 failed, 1 rejected. This cannot be undone" in done.stdout
    assert uploaded(data)
    done = cli_here(*job, "--retry")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "--clear-uploads and --retry at once" in done.stderr
    done = cli_here(*job, "--yes")
    assert done.returncode == 0 and f"job {job_id}: done" in done.stdout and not uploaded(data)
    assert done.stderr == f"Uploaded files cleared: 1, {len(data)} bytes; given up: 1 failed, 1 rejected.\n"
    done = cli_here(*job, "--yes")
    assert (done.returncode, done.stderr) == (1, f"cxrscreen: No uploaded file of job {job_id} is left in the store.\n")
    done = cli_here("job", str(job_id), "--retry")
    assert done.returncode == 1 and "which was cleared: 1. Upload it again" in done.stderr


def test_the_command_line_refuses_in_one_line(either_site: Site, cli_here: Callable[..., Done], tmp_path: Path) -> None:
    job_id = cleared_site(either_site, archive(b"one text"))
    with db.write() as session:
        session.execute(update(Job).values(state=JobState.PAUSED, finished_at=None))
    done = cli_here("job", str(job_id), "--clear-uploads", "--yes")
    assert done.returncode == 1
    assert (
        done.stderr == f"cxrscreen: Job {job_id} is paused: let it end or cancel it before its uploads are cleared.\n"
    )
    folder = job_over(tmp_path, either_site.model_id)
    done = cli_here("job", str(folder), "--clear-uploads", "--yes")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "has no uploaded files" in done.stderr


def test_what_is_left_does_not_stand_before_what_can_be_tried(either_site: Site, tmp_path: Path) -> None:
    site, browser = either_site, either_site.browser("operator")
    lost = cleared_site(site, archive(b"one text"))
    many = quarantine.PAGE
    with db.write() as session:
        rows = [{"job_id": lost, "name": f"night.zip/{n}.txt", "status": EntryStatus.FAILED} for n in range(many)]
        ids = session.scalars(insert(Entry).returning(Entry.id), rows).all()
        session.execute(insert(Rejection), [{"entry_id": n, "job_id": lost, "reason": "internal"} for n in ids])
    assert cleared_by_hand(lost).entries == {"failed": many + 1}
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.txt").write_bytes(README)
    folder = job_over(tmp_path / "f", site.model_id)
    with db.write() as session:
        entry = Entry(job_id=folder, name="f/a.txt")
        session.add(entry)
        session.flush()
        entries.reject(session, entry, Reason.INTERNAL, status=EntryStatus.FAILED)
    assert browser.post("/quarantine/retry", {"all": "yes"}).status_code == 302
    page = browser.page("/quarantine")
    assert f"1 entry waits again. {many + 1} entries stood in an uploaded file that was cleared" in page
    assert entries_of(folder) == {"f/a.txt": EntryStatus.WAITING} and state_of(lost)[1].failed == many + 1
