"""The quarantine: what was set aside, why, and another try that keeps every account exact."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import seed
from dashboard_fixtures import Site, done_job
from sqlalchemy import select, update
from stack_fixtures import register
from steps import entries_of, job_over, png, screen_all

from cxrscreen import blobs, db, entries, jobs, quarantine, retries
from cxrscreen.imaging.reasons import Reason, sentence
from cxrscreen.quarantine import Choice
from cxrscreen.settings import Settings
from cxrscreen.tables import Entry, EntryStatus, Job, JobState, Rejection
from worker import ingest


def tried(ids: list[int]) -> retries.Tried:
    with db.write() as session:
        return retries.chosen(session, ids, "a test", blobs.store())


def id_of(job_id: int, name: str) -> int:
    with db.read() as session:
        return session.scalars(select(Entry.id).where(Entry.job_id == job_id, Entry.name == name)).one()


def test_what_was_refused_by_a_setting_is_scored_at_another_try(
    database: Settings, configure: Callable[..., Settings], phantom_bundle: Path, tmp_path: Path
) -> None:
    model_id = register(phantom_bundle).id
    blobs.store().put("models", b"so that the store is there")
    folder = tmp_path / "f"
    folder.mkdir()
    for name, data in (("a.png", png(1)), ("b.png", png(2)), ("notes.txt", b"no picture"), ("z.png", png(2))):
        (folder / name).write_bytes(data)
    job_id = job_over(folder, model_id)
    ingest.run(job_id)
    with db.write() as session:
        # As if b had been refused, its twin beside it.
        entry = session.get_one(Entry, id_of(job_id, "f/b.png"))
        entry.image_id = entry.batch_id = None
        session.execute(update(Entry).where(Entry.duplicate_of == entry.id).values(image_id=None))
        entries.reject(session, entry, Reason.TOO_LARGE)
    screen_all()
    with db.read() as session:
        before = jobs.account(session, job_id)
        assert jobs.get(session, job_id).state == JobState.DONE and before.rejected == 2
        assert quarantine.reasons(session, Choice(job_id)) == {Reason.TOO_LARGE: 1, Reason.NO_IMAGE: 1}
    done = tried([id_of(job_id, "f/b.png"), id_of(job_id, "f/a.png"), 10**9])
    assert (done.by_job, done.left) == ({job_id: 1}, 2), "what has a score is left"
    with db.read() as session:
        meanwhile = jobs.account(session, job_id)
    assert (meanwhile.found, meanwhile.waiting, meanwhile.rejected) == (before.found, 1, 1)
    ingest.run(job_id)
    screen_all()
    with db.read() as session:
        after = jobs.account(session, job_id)
        rows = {row["file"]: row for row in entries.rows(session, job_id)}
        assert jobs.get(session, job_id).state == JobState.DONE
    assert (after.found, after.scored, after.reasons) == (before.found, before.scored + 1, {Reason.NO_IMAGE: 1})
    assert rows["f/z.png"]["score"] == rows["f/b.png"]["score"] is not None


def test_what_is_gone_is_left_as_it_is(database: Settings, phantom_bundle: Path, tmp_path: Path) -> None:
    model_id = register(phantom_bundle).id
    blobs.store().put("models", b"so that the store is there")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.txt").write_text("no picture")
    job_id = job_over(tmp_path / "f", model_id)
    ingest.run(job_id)
    (tmp_path / "f").rename(tmp_path / "elsewhere")
    done = tried([id_of(job_id, "f/a.txt")])
    assert (done.again, done.left) == (0, 1)
    assert entries_of(job_id) == {"f/a.txt": EntryStatus.REJECTED}
    with db.read() as session:
        assert jobs.get(session, job_id).state == JobState.DONE


def aside(site: Site, folder: Path, count: int = 3) -> int:
    """A job with as many entries that failed, and one that was rejected."""
    with db.write() as session:
        job = done_job(session, site.model_id, "<b>night</b>")
        job.sources = [{"path": str(folder), "label": "f"}]
        image = seed.images(session, 1)[0]
        for number in range(count + 1):
            entry = Entry(job_id=job.id, name=f"f/{number}.png", attempts=4, image_id=None if number else image.id)
            session.add(entry)
            session.flush()
            failed = number < count
            entries.reject(
                session,
                entry,
                Reason.INTERNAL if failed else Reason.BLANK,
                "=cmd()",
                status=EntryStatus.FAILED if failed else EntryStatus.REJECTED,
            )
        return job.id


def test_the_page_lists_filters_and_tries_again(site: Site, tmp_path: Path) -> None:
    job_id = aside(site, tmp_path)
    browser = site.browser("operator")
    page = browser.page("/quarantine")
    assert page.count("<tr>") == 5 and page.count("/thumb.jpg") == 1 and "&lt;b&gt;night" not in page
    assert sentence(Reason.BLANK) in page and "/quarantine?job=" in browser.page(f"/jobs/{job_id}")
    page = browser.page(f"/quarantine?reason=blank&job={job_id}")
    assert page.count("<tr>") == 2 and "f/3.png" in page
    assert browser.page("/quarantine?status=failed").count("<tr>") == 4
    assert "Nothing here" in browser.page("/quarantine?status=rejected&reason=internal")
    assert browser.get("/quarantine?status=scored").status_code == 400
    assert browser.get("/quarantine?job=999").status_code == 404

    table = list(csv.DictReader(io.StringIO(browser.page("/quarantine/list.csv?status=failed"))))
    assert [row["file"] for row in table] == ["f/0.png", "f/1.png", "f/2.png"]
    assert table[0]["detail"] == "'=cmd()" and table[0]["sentence"] == sentence(Reason.INTERNAL)

    assert browser.post("/quarantine/retry").status_code == 400
    assert browser.post("/quarantine/retry", {"entry": "x"}).status_code == 400
    chosen = id_of(job_id, "f/3.png")
    assert browser.post("/quarantine/retry?reason=blank", {"entry": str(chosen)}).status_code == 302
    with db.read() as session:
        account = jobs.account(session, job_id)
        assert (account.waiting, account.failed, account.rejected, account.found) == (1, 3, 0, 4)
        assert session.get_one(Job, job_id).state == JobState.RUNNING
    answer = browser.post("/quarantine/retry", {"all": "yes"})
    assert answer.status_code == 302
    with db.read() as session:
        # The picture of one of them is neither in the store nor in a folder.
        assert jobs.account(session, job_id).waiting == 3
        assert len(session.scalars(select(Rejection)).all()) == 1


def test_pages_of_many(site: Site, tmp_path: Path) -> None:
    aside(site, tmp_path, 60)
    browser = site.browser("reader")
    first = browser.page("/quarantine")
    assert first.count("<tr>") == 51 and 'rel="next"' in first
    with db.read() as session:
        middle = quarantine.page(session, Choice(), limit=50)[-1].entry.id
    assert browser.page(f"/quarantine?before={middle}").count("<tr>") == 12
