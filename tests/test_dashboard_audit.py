"""Every view and export leaves one row; the log is asked by deed, person, subject and date, page by page."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dashboard_fixtures import Site, done_job, ramp, scored, stored_image

from cxrscreen import audit, db, reviewed, studies, users
from cxrscreen.audit import Asked
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Verdict

ROOT = Path(__file__).resolve().parent.parent


def events(site: Site, action: str) -> list[tuple[str, str]]:
    with db.read() as session:
        rows = session.query(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id)
        return [(row.actor, row.subject) for row in rows]


def test_every_view_and_export_leaves_a_row(site: Site) -> None:
    with db.write() as session:
        study = scored(session, "s", [0.9], site.model_id).id
        image = stored_image(session, ramp()).id
        job = done_job(session, site.model_id).id
    browser = site.browser("reader")
    pages = {
        "/worklist?state=all": ("worklist.view", "worklist"),
        f"/studies/{study}": ("study.view", f"study {study}"),
        f"/images/{image}/picture.png": ("image.view", f"image {image}"),
        f"/images/{image}/pixels": ("image.view", f"image {image}"),
        f"/jobs/{job}/entries": ("job.entries", f"job {job}"),
        f"/jobs/{job}/export.csv": ("job.export", f"job {job}"),
        "/quarantine": ("quarantine.view", "quarantine"),
        "/quarantine/list.csv": ("quarantine.export", "quarantine"),
        "/reviewed.csv": ("reviewed.export", "reviewed set"),
        "/reviewed.parquet": ("reviewed.export", "reviewed set"),
    }
    before = len(events(site, "worklist.view"))
    for url, (action, subject) in pages.items():
        assert browser.get(url).status_code == 200, url
        assert events(site, action)[-1] == ("reader", subject), url
    assert len(events(site, "worklist.view")) == before + 1
    assert len(events(site, "image.view")) == 2
    assert "job.entries" not in browser.page(f"/jobs/{job}"), "a look is no part of a job's past"
    tag = browser.get(f"/images/{image}/picture.png").headers["ETag"]
    assert browser.get(f"/images/{image}/picture.png", headers={"If-None-Match": tag}).status_code == 304
    assert len(events(site, "image.view")) == 4, "what a browser kept is looked at, too"


def test_what_was_not_shown_is_not_written_down(site: Site) -> None:
    operator = site.browser("operator")
    assert operator.get("/studies/77").status_code == 404
    assert operator.get("/reviewed.csv").status_code == 403
    assert site.browser().get("/worklist").status_code == 302
    assert events(site, "study.view") == events(site, "reviewed.export") == events(site, "worklist.view") == []


def test_a_study_beside_another_is_seen_too(site: Site) -> None:
    with db.write() as session:
        one, two = (scored(session, name, [0.9], site.model_id) for name in "ab")
        one.patient = two.patient = "p"
        ids = one.id, two.id
    site.browser("reader").page(f"/studies/{ids[0]}?beside={ids[1]}")
    assert events(site, "study.view") == [("reader", f"study {number}") for number in ids]


@pytest.fixture
def logged(database: Settings) -> datetime:
    """Three hundred events of three people over ten days; each time is shared by two."""
    begin = datetime(2026, 11, 1, 12, tzinfo=UTC)
    with db.write() as session:
        for number in range(300):
            actor = ("ann", "bob", "eve")[number % 3]
            action = ("study.view", "study.review", "model.activate")[number // 3 % 3]
            at = begin + timedelta(minutes=48 * (number // 2))
            session.add(AuditEvent(actor=actor, action=action, subject=f"study {number % 7}", at=at, detail={}))
    return begin


def test_the_log_is_asked_page_by_page(logged: datetime) -> None:
    with db.read() as session:
        everything = audit.page(session, Asked(), limit=1000)
        assert [(row.at, row.id) for row in everything] == sorted(((r.at, r.id) for r in everything), reverse=True)
        day = (logged + timedelta(days=2)).date()
        for asked, wanted in (
            (Asked(actor="bob"), lambda row: row.actor == "bob"),
            (Asked(action="study"), lambda row: row.action.startswith("study.")),
            (Asked(action="model.activate"), lambda row: row.action == "model.activate"),
            (Asked(subject="study 3", actor="eve"), lambda row: row.subject == "study 3" and row.actor == "eve"),
            (Asked(since=day, until=day), lambda row: row.at.date() == day),
            (Asked(action="nothing"), lambda row: False),
        ):
            expected, got, before = [row.id for row in everything if wanted(row)], [], None
            while page := audit.page(session, asked, before=before, limit=17):
                got += [row.id for row in page]
                before = page[-1].id
            assert got == expected, asked


def test_the_page_of_the_log(site: Site) -> None:
    site.browser().sign_in("reader", "a wrong password")
    browser = site.browser("admin")
    page = browser.page("/audit")
    assert "auth.failed" in page and "auth.sign-in" in page and "address 127.0.0.1" in page
    told = re.sub(r"<select.*?</select>", "", browser.page("/audit?action=user"), flags=re.DOTALL)
    assert "user.add" in told and "auth." not in told
    with db.write() as session:
        for number in range(120):
            session.add(AuditEvent(actor="somebody", action="job.pause", subject=f"job {number}", detail={}))
    page = browser.page("/audit?actor=somebody&action=job")
    assert re.search(r'rel="next" href="/audit\?before=\d+&amp;actor=somebody&amp;action=job"', page)
    assert 'rel="next"' not in browser.page("/audit?actor=nobody")
    assert browser.get("/audit?since=yesterday").status_code == 400
    assert browser.get("/audit?before=99999").status_code == 200
    assert site.browser("reader").get("/audit").status_code == 403


def test_every_recorded_deed_can_be_asked_for() -> None:
    """A deed that the list does not know would be found under no noun."""
    known = {f"{noun}.{deed}" for noun, deeds in audit.ACTIONS.items() for deed in deeds}
    said: set[str] = set()
    for room in ("cxrscreen", "dashboard", "worker"):
        for file in (ROOT / room).rglob("*.py"):
            for call in re.findall(r"audit\.record\((.*?)\)\n", file.read_text("utf-8"), flags=re.DOTALL):
                said |= set(re.findall(r'"([a-z]+\.[a-z-]+)"', call))
    assert said and said <= known


def test_the_reviewed_set_in_both_forms(site: Site) -> None:
    with db.write() as session:
        reader = users.get(session, "reader")
        for number, (score, verdict) in enumerate(((0.9, "confirmed"), (0.2, "dismissed"), (0.7, "unsure"))):
            study = scored(session, f"s{number}", [score, 0.1], site.model_id, label=f"=s{number}")
            for said in (Verdict.UNSURE, Verdict(verdict)):
                current = studies.current_review(session, study.id)
                seen = current.id if current else None
                studies.review(session, study, reader, said, '=HYPERLINK("x")', site.model_id, seen)
        scored(session, "unread", [0.8], site.model_id)
    browser = site.browser("reader")
    table = pq.read_table(io.BytesIO(browser.get("/reviewed.parquet").data)).to_pylist()
    lines = list(csv.DictReader(io.StringIO(browser.get("/reviewed.csv").text)))
    said = ["confirmed", "dismissed", "unsure"]
    assert [row["verdict"] for row in table] == [row["verdict"] for row in lines] == said
    assert [row["flagged"] for row in table] == [True, False, True]
    assert (table[0]["score"], table[0]["model"], table[0]["images"]) == (0.9, "m1", 2)
    assert table[0]["comment"].startswith("=") and lines[0]["comment"].startswith("'="), "only a spreadsheet runs it"
    assert list(lines[0]) == list(table[0]) == list(reviewed.COLUMNS)


def test_an_empty_reviewed_set_has_its_columns(site: Site) -> None:
    browser = site.browser("reader")
    assert browser.get("/reviewed.csv").text.strip().split(",") == list(reviewed.COLUMNS)
    table = pq.read_table(io.BytesIO(browser.get("/reviewed.parquet").data))
    assert (table.num_rows, table.column_names) == (0, list(reviewed.COLUMNS))
