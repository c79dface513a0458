"""What administrators and operators keep in order: models, people, schedules, the audit log, the system page."""

from __future__ import annotations

import html
import re

import pytest
import seed
from dashboard_fixtures import Site, scored
from sqlalchemy import select

from cxrscreen import batches, db, drift, entries, registry, studies, users
from cxrscreen.tables import (
    Alert,
    AuditEvent,
    Entry,
    EntryStatus,
    Image,
    Job,
    JobKind,
    ModelState,
    ModelVersion,
    Result,
    Role,
    Schedule,
    Study,
    StudyResult,
    Verdict,
    Worker,
)
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


def test_what_would_change_is_shown_before_a_version_is_activated_and_signed_for(site: Site, candidate: int) -> None:
    browser = site.browser("admin")
    url = f"/models/{candidate}/activate"
    page = browser.page(url)
    assert re.search(r"Newly flagged</dt><dd><b>1</b>", page)
    assert re.search(r"No longer flagged</dt><dd><b>1</b>", page)
    assert page.count("/thumb.jpg") == 2
    assert browser.post(url).status_code == 400, "nothing without a signature"
    assert browser.post(url, {"sign_off": "  "}).status_code == 400
    with db.read() as session:
        assert registry.need_active(session).id == site.model_id, "looking changes nothing"
    assert browser.post(url, {"sign_off": "read 40 flips <b>with</b> Dr. B"}).status_code == 302
    with db.read() as session:
        assert registry.need_active(session).id == candidate
        assert session.get_one(ModelVersion, site.model_id).state == ModelState.RETIRED
        event = session.query(AuditEvent).where(AuditEvent.action == "model.activate").one()
    assert (event.actor, event.detail["sign_off"]) == ("admin", "read 40 flips <b>with</b> Dr. B")
    assert "read 40 flips &lt;b&gt;with&lt;/b&gt; Dr. B" in browser.page("/models")
    assert site.browser("reader").post("/models/rollback").status_code == 403
    (seen,) = re.findall(r'name="seen" value="(\d+)"', browser.page("/models"))
    assert int(seen) == candidate
    assert browser.post("/models/rollback", {"seen": site.model_id}).status_code == 409, "another one was seen"
    assert browser.post("/models/rollback", {"seen": seen}).status_code == 302, "one click, and back"
    assert browser.post("/models/rollback", {"seen": seen}).status_code == 409, "and a second click goes no further"
    with db.read() as session:
        assert registry.need_active(session).id == site.model_id
        assert session.query(AuditEvent).where(AuditEvent.action == "model.rollback").count() == 1
    assert "roll-back" not in browser.page("/models"), "forward again is an activation, with a signature"
    assert browser.post("/models/rollback").status_code == 409


def test_without_a_version_before_there_is_nothing_to_roll_back_to(site: Site) -> None:
    browser = site.browser("admin")
    assert "roll-back" not in browser.page("/models")
    assert browser.post("/models/rollback").status_code == 409


def test_a_comparison_tells_flips_shifts_and_figures_against_verdicts(site: Site, candidate: int) -> None:
    with db.write() as session:
        reader = users.get(session, "reader")
        for label, verdict in (("gone", Verdict.DISMISSED), ("new", Verdict.CONFIRMED), ("same", Verdict.CONFIRMED)):
            study = session.query(Study).where(Study.label == label).one()
            studies.review(session, study, reader, verdict, "", site.model_id, None)
    page = site.browser("reader").page(f"/models/{candidate}/compare")
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "Sensitivity 50.0 % 9.5 to 90.5, 1 of 2 100.0 % 34.2 to 100.0, 2 of 2" in said
    assert "Specificity 0.0 % 0.0 to 79.3, 0 of 1 100.0 % 20.7 to 100.0, 1 of 1" in said
    assert "0.900 → 0.100" in said and "0.200 → 0.800" in said and "0.700 → 0.750" not in said
    assert "Activate…" not in said, "a reader compares; an administrator activates"
    assert 'role="img" aria-label="mean shift' in page
    other = site.browser("admin").page(f"/models/{site.model_id}/compare?with={candidate}")
    assert "m2</bdi> → <bdi" in other
    assert site.browser("admin").get(f"/models/{candidate}/compare?with=99").status_code == 404


def test_a_shadow_run_changes_nothing_that_a_reader_sees(site: Site) -> None:
    """Every page of the worklist and of its studies, before and after a candidate has scored them all the other way."""
    with db.write() as session:
        for number in range(6):
            scored(session, f"case {number}", [number / 6, 0.05], site.model_id)
        other = seed.model(session, "m2", state=ModelState.CANDIDATE).id
        job_id = seed.running_job(session, session.get_one(ModelVersion, other), 0).id
    reader = site.browser("reader")
    addresses = ["/worklist", "/worklist?state=all", *(f"/studies/{number}" for number in studies_there())]
    addresses += [f"/studies/{number}?state=all" for number in studies_there()]

    def seen() -> list[str]:
        return [re.sub(r'(csrf_token" value|csrf-token" content)="[^"]+"', "", reader.page(url)) for url in addresses]

    before = seen()
    with db.write() as session:
        ids = list(session.scalars(select(Image.id)))
        rows = [Entry(job_id=job_id, name=str(n), image_id=n, status=EntryStatus.WAITING) for n in ids]
        session.add_all(rows)
        session.flush()
        entries.cut_batches(session, job_id, [row.id for row in rows], 64)
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work and len(work.images) == 12
        batches.finish(session, work, "w", [batches.Answer(n, seed.result(0.99)) for n in ids])
    with db.read() as session:
        assert session.query(StudyResult).where(StudyResult.model_version_id == other).count() == 6
    assert seen() == before
    admin = site.browser("admin").page(addresses[-1])
    assert "in shadow" in admin and "0.990" in admin, "an administrator sees what it said"
    with db.write() as session:
        registry.activate(session, session.get_one(ModelVersion, other), "a test", "looked")
    assert "0.990" in reader.page(addresses[-1]), "and everybody once it is active"


def studies_there() -> list[int]:
    with db.read() as session:
        return list(session.scalars(select(Study.id).order_by(Study.id)))


def test_a_drift_is_plotted_and_its_alert_stands_until_somebody_looked(site: Site) -> None:
    with db.write() as session:
        for image in seed.images(session, 120, "before"):
            session.add(Result(image_id=image.id, model_version_id=site.model_id, **seed.result(0.2)))
    drift.measure(site.model_id, None)
    with db.write() as session:
        for image in seed.images(session, 60, "after"):
            session.add(Result(image_id=image.id, model_version_id=site.model_id, **seed.result(0.9)))
    drift.measure(site.model_id, None)
    browser = site.browser("operator")
    page = browser.page(f"/models/{site.model_id}/drift")
    assert '<span class="badge band-alert" id="band">alert</span>' in page
    assert page.count('<svg class="histogram"') == 3 and page.count('<rect class="now"') >= 23
    assert "the first 120 results of m1" in page
    for url in ("/models", "/system", f"/models/{site.model_id}/drift"):
        assert "I have seen it" in browser.page(url)
    assert browser.get(f"/models/{site.model_id}/drift?night=99").status_code == 404
    assert browser.post("/alerts/1/seen").status_code == 302
    for url in ("/models", "/system", f"/models/{site.model_id}/drift"):
        assert "I have seen it" not in browser.page(url)
    with db.read() as session:
        alert = session.query(Alert).one()
    assert alert.seen_by == "operator" and alert.seen_at


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


def test_a_role_counts_from_the_next_sign_in_on(site: Site) -> None:
    with db.read() as session:
        reader = users.get(session, "reader").id
    admin, guest = site.browser("admin"), site.browser("reader")
    assert guest.get("/audit").status_code == 403
    assert admin.post(f"/people/{reader}/role", {"role": "admin"}).status_code == 302
    assert guest.get("/audit").status_code == 302, "another role ends the sessions that had the former"
    assert site.browser("reader").get("/audit").status_code == 200


def test_the_last_administrator_stays(site: Site) -> None:
    with db.read() as session:
        admin = users.get(session, "admin").id
    browser = site.browser("admin")
    assert browser.post(f"/people/{admin}/out").status_code == 409
    assert browser.post(f"/people/{admin}/role", {"role": "reader"}).status_code == 409
    with db.read() as session:
        assert users.get(session, "admin").role == Role.ADMIN and users.get(session, "admin").active


PLAN = {
    "name": "Second look",
    "cron": "30 23 * * *",
    "timezone": "Europe/Minsk",
    "window_from": "22:00",
    "window_until": "06:00",
    "enabled": "on",
}


def test_a_schedule_shows_its_next_three_runs_before_it_is_saved(site: Site) -> None:
    browser = site.browser("operator")
    assert "Show the next runs" in browser.page("/schedules/new")
    off = {key: value for key, value in PLAN.items() if key != "enabled"}
    assert "It is switched off." in browser.post("/schedules", off).text
    page = browser.post("/schedules", PLAN).text
    assert "It is switched off." not in page
    assert len(re.findall(r"<b>\w+day \d{4}-\d\d-\d\d 23:30 \+03</b> until \w+day 06:00 \+03", page)) == 3
    with db.read() as session:
        assert session.query(Schedule).count() == 0, "looking saves nothing"
    assert browser.post("/schedules", {**PLAN, "do": "save"}).status_code == 302
    page = browser.page("/schedules")
    assert "from 22:00 to 06:00" in page and "Europe/Minsk" in page and "23:30 +03" in page
    assert browser.post("/schedules", {**PLAN, "do": "save"}).status_code == 409
    with db.read() as session:
        number = session.query(Schedule).one().id
    changed = {**PLAN, "name": "Weekly", "cron": "0 1 * * SUN", "rate": "600", "only": "flagged", "do": "save"}
    del changed["enabled"]
    assert browser.post(f"/schedules/{number}", changed).status_code == 302
    with db.read() as session:
        row = session.get_one(Schedule, number)
    assert (row.name, row.rate, row.enabled, row.scope) == ("Weekly", 600, False, {"flagged": True})
    assert 'value="0 1 * * SUN"' in browser.page(f"/schedules/{number}")
    assert browser.post("/schedules/99", PLAN).status_code == 404
    assert browser.post(f"/schedules/{number}/remove").status_code == 302
    with db.read() as session:
        assert session.query(Schedule).count() == 0
        actions = [row.action for row in session.query(AuditEvent).where(AuditEvent.action.startswith("schedule"))]
    assert actions == ["schedule.set", "schedule.set", "schedule.remove"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cron": "0 22 30 2 *"}, "never fires"),
        ({"cron": "0 22 31 4,6,9,11 *"}, "never fires"),
        ({"cron": "0 22 * * SUN#5,9"}, "no cron expression"),
        ({"cron": "0 22 1 13 *"}, "its field 4, '13', cannot be read"),
        ({"cron": "soon"}, "five fields"),
        ({"cron": "0 0 22 * * *"}, "five fields"),
        ({"cron": "*/5 * * * *"}, "more than once an hour"),
        ({"cron": "1" * 90 + " * * * *"}, "no cron expression"),
        ({"cron": "0 22 * L L"}, "no cron expression"),
        ({"window_from": "22:00", "window_until": "22:00"}, "has no length"),
        ({"window_until": ""}, "both its beginning and its end"),
        ({"window_from": "25:00"}, "A time of day looks like"),
        ({"cron": "0 12 * * *"}, "outside its window"),
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"policy": "version"}, "Name the model version"),
        ({"policy": "version", "model": "nobody"}, "no model version"),
        ({"policy": "newest"}, "Which model is one of"),
        ({"folder": "/etc"}, "outside the allowed folders"),
        ({"job": "99"}, "no job 99"),
        ({"job": "one"}, "by its number"),
        ({"since": "yesterday"}, "A date looks like"),
        ({"rate": "0"}, "Images a minute"),
        ({"rate": "-1"}, "Images a minute"),
        ({"rate": "9" * 30}, "Images a minute"),
        ({"only": "some"}, "Which studies is one of"),
        ({"name": ""}, "needs a name"),
    ],
)
def test_a_schedule_that_would_never_work_is_refused_in_one_sentence(
    site: Site, wrong: dict[str, str], said: str
) -> None:
    browser = site.browser("operator")
    for do in ("look", "save"):
        answer = browser.post("/schedules", {**PLAN, **wrong, "do": do})
        assert answer.status_code in (400, 403, 404)
        refused = re.search(r'id="refused">([^<]+)</p>', answer.text)
        assert refused and said in html.unescape(refused[1]) and refused[1].endswith(".")
        assert 'value="22:00"' in answer.text or "window_from" in wrong, "what was typed stays"
    with db.read() as session:
        assert session.query(Schedule).count() == 0


def test_the_system_page_tells_what_is_silent(site: Site) -> None:
    browser = site.browser("operator")
    page = browser.page("/system")
    assert "SQLite" in page and "does not answer" in page and page.count("not seen") == 2
    with db.write() as session:
        session.add(Worker(name="screen@ward", role="screen", pid=4, doing="batch 3"))
    page = browser.page("/system")
    assert page.count("not seen") == 1 and "batch 3" in page
