"""What administrators and operators keep in order: models, people, schedules, the audit log, the system page."""

from __future__ import annotations

import re

import pytest
import seed
from dashboard_fixtures import Site, scored

from cxrscreen import db, registry, studies, users
from cxrscreen.tables import AuditEvent, Job, JobKind, ModelState, ModelVersion, Result, Role, Schedule, Worker
from dashboard.models import flat, headline


@pytest.fixture
def candidate(site: Site) -> int:
    """A second version that flags one study more and one less."""
    with db.write() as session:
        other = seed.model(session, "m2", state=ModelState.CANDIDATE)
        for name, before, after in (("gone", 0.9, 0.1), ("new", 0.2, 0.8), ("same", 0.7, 0.75)):
            study = scored(session, name, [before], site.model_id)
            image = studies.images(session, study.id, site.model_id)[0][0]
            session.add(Result(image_id=image.id, model_version_id=other.id, **seed.result(after)))
            session.flush()
            studies.refresh(session, [study.id], other.id)
        return other.id


def test_what_would_change_is_shown_before_a_version_is_activated(site: Site, candidate: int) -> None:
    browser = site.browser("admin")
    page = browser.page(f"/models/{candidate}/activate")
    assert re.search(r"Newly flagged</dt><dd><b>1</b>", page)
    assert re.search(r"No longer flagged</dt><dd><b>1</b>", page)
    with db.read() as session:
        assert registry.need_active(session).id == site.model_id, "looking changes nothing"
    assert browser.post(f"/models/{candidate}/activate").status_code == 302
    with db.read() as session:
        assert registry.need_active(session).id == candidate
        assert session.get_one(ModelVersion, site.model_id).state == ModelState.RETIRED
    assert browser.post(f"/models/{site.model_id}/activate").status_code == 302, "and back"
    with db.read() as session:
        assert registry.need_active(session).id == site.model_id


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "inf", "", "much", "1e400"])
def test_a_threshold_is_a_number_from_zero_to_one(site: Site, value: str) -> None:
    browser = site.browser("admin")
    assert browser.post(f"/models/{site.model_id}/threshold", {"threshold": value, "note": "x"}).status_code == 400
    with db.read() as session:
        assert registry.threshold(session, site.model_id) == 0.5


def test_a_threshold_is_kept_with_who_and_why(site: Site) -> None:
    browser = site.browser("admin")
    url = f"/models/{site.model_id}/threshold"
    assert browser.post(url, {"threshold": "0,35", "note": ""}).status_code == 400, "a reason is asked for"
    assert browser.post(url, {"threshold": "0,35", "note": "fewer misses"}).status_code == 302
    page = browser.page(f"/models/{site.model_id}")
    assert '<b id="threshold-now">0.35</b>' in page and "fewer misses" in page
    with db.read() as session:
        event = session.query(AuditEvent).where(AuditEvent.action == "model.threshold").one()
    assert (event.actor, event.detail["threshold"]) == ("admin", 0.35)


def test_a_rescreen_is_a_job_of_that_version(site: Site, candidate: int) -> None:
    answer = site.browser("admin").post(f"/models/{candidate}/rescreen")
    with db.read() as session:
        job = session.query(Job).one()
    assert answer.location == f"/jobs/{job.id}"
    assert (job.kind, job.model_version_id, job.sources) == (JobKind.RESCREEN, candidate, [])


def test_figures_of_any_shape_are_lines() -> None:
    figures = {
        "val": {"n": 120, "auroc": 0.97125, "sensitivity": float("nan")},
        "test": {"covid": {"sensitivity": {"value": 0.93, "ci95": [0.88, 0.97]}}, "confusion": [[1, 2], [3, 4]]},
        "note": None,
    }
    assert list(flat(figures)) == [
        ("val · n", "120"),
        ("val · auroc", "0.971"),
        ("val · sensitivity", "–"),
        ("test · covid · sensitivity", "0.930 [0.880, 0.970]"),
        ("note", "–"),
    ]
    assert dict(headline({"figures": figures})) == {"auroc": "0.971", "sensitivity": "–"}


def test_a_new_person_gets_a_link_once_or_a_password(site: Site) -> None:
    browser = site.browser("admin")
    page = browser.post("/people", {"name": "Vera", "role": "reader"})
    link = re.search(r'value="http://localhost(/enter/[\w-]+)"', page.text)
    assert link
    guest = site.browser()
    assert guest.post(link[1], page=link[1]).status_code == 302
    assert browser.post("/people", {"name": "Oleg", "role": "operator", "password": "short"}).status_code == 400
    assert browser.post("/people", {"name": "Vera", "role": "reader"}).status_code == 409
    assert browser.post("/people", {"name": "X", "role": "emperor"}).status_code == 400
    assert browser.post("/people", {"name": "y" * 101, "role": "reader"}).status_code == 400
    assert browser.post("/people", {"name": "Oleg", "role": "operator", "password": "long enough"}).status_code == 302
    with db.read() as session:
        added = session.query(AuditEvent).where(AuditEvent.action == "user.add", AuditEvent.actor == "admin")
        assert [event.detail["name"] for event in added.order_by(AuditEvent.id)][-2:] == ["Vera", "Oleg"]
    assert site.browser().sign_in("Oleg", "long enough").status_code == 302


def test_who_is_kept_out_is_out_at_once(site: Site) -> None:
    with db.read() as session:
        reader = users.get(session, "reader").id
    admin, guest = site.browser("admin"), site.browser("reader")
    link = re.search(r"(/enter/[\w-]+)", admin.post(f"/people/{reader}/link").text)
    assert link
    assert admin.post(f"/people/{reader}/out").status_code == 302
    assert guest.get("/worklist").status_code == 302
    assert guest.sign_in("reader").status_code == 401
    assert guest.post(link[1], page=link[1]).status_code == 403, "a link of before opens nothing"
    assert admin.post(f"/people/{reader}/link").status_code == 400
    assert admin.post(f"/people/{reader}/in").status_code == 302
    assert site.browser().sign_in("reader").status_code == 302


def test_a_role_counts_from_the_next_page_on(site: Site) -> None:
    with db.read() as session:
        reader = users.get(session, "reader").id
    admin, guest = site.browser("admin"), site.browser("reader")
    assert guest.get("/audit").status_code == 403
    assert admin.post(f"/people/{reader}/role", {"role": "admin"}).status_code == 302
    assert guest.get("/audit").status_code == 200


def test_the_last_administrator_stays(site: Site) -> None:
    with db.read() as session:
        admin = users.get(session, "admin").id
    browser = site.browser("admin")
    assert browser.post(f"/people/{admin}/out").status_code == 409
    assert browser.post(f"/people/{admin}/role", {"role": "reader"}).status_code == 409
    with db.read() as session:
        assert users.get(session, "admin").role == Role.ADMIN and users.get(session, "admin").active


def test_a_schedule_is_changed_and_bad_times_are_refused(site: Site) -> None:
    with db.write() as session:
        session.add(Schedule(name="Nightly", at="22:00", timezone="UTC", enabled=True))
    browser = site.browser("operator")
    good = {"at": "23:30", "timezone": "Europe/Minsk", "enabled": "on"}
    assert browser.post("/schedules/1", good).status_code == 302
    assert "23:30" in browser.page("/schedules") and "20:30 UTC" not in browser.page("/jobs")
    assert re.search(r"20:30</time> UTC", browser.page("/schedules")), "Minsk is three hours ahead"
    for bad in ({"at": "25:00"}, {"at": "soon"}, {"timezone": "Mars/Olympus"}, {"timezone": "../../etc/passwd"}):
        assert browser.post("/schedules/1", {**good, **bad}).status_code == 400
    assert browser.post("/schedules/1", {"at": "01:00", "timezone": "UTC"}).status_code == 302
    with db.read() as session:
        row = session.get_one(Schedule, 1)
    assert (row.at, row.timezone, row.enabled) == ("01:00", "UTC", False)
    fresh = {"name": "Noon", "at": "12:00", "timezone": "UTC"}
    assert browser.post("/schedules", fresh).status_code == 302
    assert browser.post("/schedules", fresh).status_code == 409
    assert browser.post("/schedules/99", good).status_code == 404


def test_the_audit_log_tells_who_did_what(site: Site) -> None:
    site.browser().sign_in("reader", "a wrong password")
    browser = site.browser("admin")
    page = browser.page("/audit")
    assert "auth.failed" in page and "auth.sign-in" in page and "address 127.0.0.1" in page
    assert "auth." not in re.sub(r"<select.*?</select>", "", browser.page("/audit?action=user"), flags=re.DOTALL)
    with db.write() as session:
        for number in range(120):
            session.add(AuditEvent(actor="somebody", action="job.pause", subject=f"job {number}", detail={}))
    assert 'rel="next"' in browser.page("/audit?actor=somebody")
    assert 'rel="next"' not in browser.page("/audit?actor=nobody")


def test_the_system_page_tells_what_is_silent(site: Site) -> None:
    browser = site.browser("operator")
    page = browser.page("/system")
    assert "SQLite" in page and "does not answer" in page and page.count("not seen") == 2
    with db.write() as session:
        session.add(Worker(name="screen@ward", role="screen", pid=4, doing="batch 3"))
    page = browser.page("/system")
    assert page.count("not seen") == 1 and "batch 3" in page
