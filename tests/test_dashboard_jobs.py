"""A job's page: its account, its buttons, its entries, its table."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
import seed
from dashboard_fixtures import Site, done_job, scored

from cxrscreen import db, entries, jobs
from cxrscreen.formulas import harmless
from cxrscreen.tables import Entry, EntryStatus, Image, Job, JobKind, JobState, Study, User, now


def mixed_job(site: Site) -> int:
    """Two scored, one duplicate, three rejected for two reasons, one failed, two waiting."""
    with db.write() as session:
        job = done_job(session, site.model_id)
        job.state, job.listed = JobState.RUNNING, True
        scored(session, "high", [0.9], site.model_id, job)
        scored(session, "low", [0.1], site.model_id, job)
        first = session.query(Entry).order_by(Entry.id).first()
        assert first is not None
        session.add(
            Entry(
                job_id=job.id,
                name="again.png",
                status=EntryStatus.DUPLICATE,
                image_id=first.image_id,
                duplicate_of=first.id,
            )
        )
        for name, reason, status in (
            ("a.txt", "no_image", EntryStatus.REJECTED),
            ("b.txt", "no_image", EntryStatus.REJECTED),
            ("side.dcm", "not_frontal", EntryStatus.REJECTED),
            ("bad.dcm", "quarantined", EntryStatus.FAILED),
        ):
            entry = Entry(job_id=job.id, name=name, status=EntryStatus.WAITING)
            session.add(entry)
            session.flush()
            entries.reject(session, entry, reason, "seen", status=status)
        session.add_all(Entry(job_id=job.id, name=f"w{n}", status=EntryStatus.WAITING) for n in range(2))
        return job.id


def test_the_account_adds_up_on_the_page_and_in_json(site: Site) -> None:
    job_id = mixed_job(site)
    browser = site.browser("operator")
    told = browser.get(f"/jobs/{job_id}/progress").json
    assert told is not None
    parts = ("scored", "rejected", "duplicate", "failed", "cancelled", "waiting")
    assert told["found"] == 9 == sum(told[part] for part in parts)
    assert [told[part] for part in parts] == [2, 3, 1, 1, 0, 2]
    assert told["reasons"] == {"no_image": 2, "not_frontal": 1, "quarantined": 1}
    assert told["sentences"]["no_image"] == "The file holds no image."
    assert told["open"] is True
    page = browser.page(f"/jobs/{job_id}")
    for part in parts:
        assert f'<b id="count-{part}">{told[part]}</b>' in page
    assert "Not a frontal view" in page
    listed = browser.page("/jobs")
    assert "archive.zip" in listed and "running" in listed


def test_buttons_fit_the_state_and_change_it(site: Site) -> None:
    job_id = mixed_job(site)
    browser = site.browser("operator")

    def state() -> JobState:
        with db.read() as session:
            return jobs.get(session, job_id).state

    assert browser.post(f"/jobs/{job_id}/resume").status_code == 409, "it is not paused"
    assert browser.post(f"/jobs/{job_id}/pause").status_code == 302
    assert state() == JobState.PAUSED
    assert browser.post(f"/jobs/{job_id}/pause").status_code == 409
    assert browser.post(f"/jobs/{job_id}/resume").status_code == 302
    assert state() == JobState.RUNNING
    assert browser.post(f"/jobs/{job_id}/cancel").status_code == 302
    assert state() == JobState.CANCELLED
    told = browser.get(f"/jobs/{job_id}/progress").json
    assert told is not None and (told["cancelled"], told["waiting"], told["open"]) == (2, 0, False)
    assert browser.post(f"/jobs/{job_id}/cancel").status_code == 409
    assert browser.post(f"/jobs/{job_id}/retry").status_code == 302
    assert state() == JobState.RUNNING
    told = browser.get(f"/jobs/{job_id}/progress").json
    assert told is not None and (told["failed"], told["waiting"]) == (0, 3)
    assert browser.post(f"/jobs/{job_id}/explode").status_code == 404
    assert browser.post("/jobs/999/pause").status_code == 404


def test_entries_are_filtered_and_paged_without_loss(site: Site) -> None:
    job_id = mixed_job(site)
    with db.write() as session:
        session.add_all(Entry(job_id=job_id, name=f"more-{n:03}", status=EntryStatus.WAITING) for n in range(250))
    browser = site.browser("operator")
    page = browser.page(f"/jobs/{job_id}/entries?reason=not_frontal")
    assert "side.dcm" in page and "a.txt" not in page and "Not a frontal view" in page
    failed = browser.page(f"/jobs/{job_id}/entries?status=failed")
    assert "bad.dcm" in failed and "side.dcm" not in failed
    seen: list[str] = []
    url = f"/jobs/{job_id}/entries?status=waiting"
    for _ in range(10):
        page = browser.page(url)
        seen += [f"more-{n:03}" for n in range(250) if f"more-{n:03}" in page]
        if 'id="next-page"' not in page:
            break
        url = page.partition('id="next-page" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert seen == [f"more-{n:03}" for n in range(250)]


def test_the_table_has_a_row_an_entry_and_runs_nothing_in_a_spreadsheet(site: Site) -> None:
    job_id = mixed_job(site)
    with db.write() as session:
        for name in ("=HYPERLINK(0)", "+1", "-2", "@SUM(A1)", "\tx", 'plain "quoted", comma'):
            session.add(Entry(job_id=job_id, name=name, status=EntryStatus.WAITING))
    answer = site.browser("operator").get(f"/jobs/{job_id}/export.csv")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="cxrscreen-job-{job_id}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    with db.read() as session:
        expected = list(entries.rows(session, job_id))
    assert len(rows) == len(expected) == 15
    assert list(rows[0]) == list(expected[0])
    names = [row["file"] for row in rows]
    assert names[-6:] == ["'=HYPERLINK(0)", "'+1", "'-2", "'@SUM(A1)", "'\tx", 'plain "quoted", comma']
    assert float(rows[0]["score"]) == expected[0]["score"]
    assert all(not value.startswith(("=", "+", "@")) for row in rows for value in row.values())


def test_numbers_are_left_as_they_are() -> None:
    assert [harmless(value) for value in (-1.5, None, True, "-x", "x-")] == [-1.5, None, True, "'-x", "x-"]


def test_an_empty_job_exports_a_head(site: Site) -> None:
    with db.write() as session:
        job_id = done_job(session, site.model_id).id
    assert site.browser("operator").page(f"/jobs/{job_id}/export.csv").startswith("file,")


@pytest.mark.parametrize("place", ["title", "name", "detail", "label", "user"])
def test_hostile_text_stays_text(site: Site, place: str) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    with db.write() as session:
        job = done_job(session, site.model_id, evil if place == "title" else "archive.zip")
        job.kind = JobKind.UPLOAD
        entry = Entry(job_id=job.id, name=evil if place == "name" else "a.txt", status=EntryStatus.WAITING)
        session.add(entry)
        session.flush()
        entries.reject(session, entry, "damaged", evil if place == "detail" else "")
        study = scored(session, "x", [0.9], site.model_id, job, label=evil if place == "label" else None)
        session.get_one(Study, study.id).patient = evil[:80]
        image = session.query(Image).first()
        assert image is not None
        image.name = evil
        image.facts = {"view": evil, "modality": evil}
        if place == "user":
            session.query(User).where(User.name == "admin").update({"name": evil})
            job.user_id = session.query(User.id).where(User.name == evil).scalar()
        job_id, study_id = job.id, study.id
    browser = site.browser("reader")
    for url in (
        "/jobs",
        f"/jobs/{job_id}",
        f"/jobs/{job_id}/entries",
        "/worklist",
        f"/worklist?job={job_id}",
        f"/studies/{study_id}",
    ):
        page = browser.page(url)
        assert "<script>alert" not in page and "<img src=x" not in page, url
    assert "&lt;script&gt;alert(1)" in browser.page(f"/studies/{study_id}")


def test_jobs_are_paged(site: Site) -> None:
    with db.write() as session:
        version = site.model_id
        for number in range(53):
            jobs.create(session, JobKind.FOLDER, f"folder-{number:02}", version)
    browser = site.browser("operator")
    first = browser.page("/jobs")
    assert "folder-52" in first and "folder-03" in first and "folder-02" not in first
    with db.read() as session:
        last = session.query(Job.id).where(Job.title == "folder-03").scalar()
    second = browser.page(f"/jobs?before={last}")
    assert "folder-02" in second and "folder-03" not in second


def test_a_job_of_many_versions_keeps_its_own(site: Site) -> None:
    with db.write() as session:
        other = seed.model(session, "m2", state=seed.ModelState.CANDIDATE, threshold=0.25)
        job = done_job(session, other)
        scored(session, "case", [0.3], other.id, job)
        job_id = job.id
    page = site.browser("operator").page(f"/jobs/{job_id}")
    assert "m2" in page and "threshold 0.250" in page


def test_a_job_tells_its_outlook_and_its_past(site: Site) -> None:
    job_id = mixed_job(site)
    browser = site.browser("operator")
    assert browser.post(f"/jobs/{job_id}/pause").status_code == 302
    with db.write() as session:
        job = jobs.get(session, job_id)
        job.started_at = now() - timedelta(seconds=70)
        job.created_at = job.started_at - timedelta(seconds=30)
    told = browser.get(f"/jobs/{job_id}/progress").json
    assert told is not None and told["seconds_left"] is None, "nobody knows how long a paused job takes"
    assert browser.post(f"/jobs/{job_id}/resume").status_code == 302
    told = browser.get(f"/jobs/{job_id}/progress").json
    assert told is not None and told["seconds_left_low"] < told["seconds_left"] < told["seconds_left_high"]
    page = browser.page(f"/jobs/{job_id}")
    later = browser.get(f"/jobs/{job_id}/progress").json
    left = re.search(r'<b id="job-left">(\d+) s</b> left', page)
    assert later is not None and left is not None
    assert told["seconds_left"] <= int(left[1]) <= later["seconds_left"]
    assert '<span id="job-left-range" >, between <b id="job-left-low">' in page
    for part in (page, browser.page(f"/jobs/{job_id}/timeline")):
        assert "<b>paused</b> by" in part and "<b>went on</b> by" in part and "<b>image set aside</b>" in part
        assert "bad.dcm</bdi>: seen" in part
        assert 'aria-label="waiting for 30 s, then running for' in part
    assert browser.get("/jobs/999/timeline").status_code == 404
