"""What programs ask with a token: the document, the answers, and who is turned away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import seed
from dashboard_fixtures import Site, done_job, scored
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import select
from werkzeug.test import TestResponse

from cxrscreen import db, jobs, studies, tokens, users
from cxrscreen.tables import (
    ApiToken,
    AuditEvent,
    Draw,
    Entry,
    EntryStatus,
    Job,
    JobKind,
    JobState,
    ModelState,
    Rejection,
    Role,
    Study,
    StudyResult,
    Verdict,
    now,
)


class Program:
    """A client without cookies that shows a token."""

    def __init__(self, site: Site, token: str = "") -> None:
        self.client = site.app.test_client(use_cookies=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(f"/api/v1{path}", headers=self.headers, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.client.post(f"/api/v1{path}", headers=self.headers, **options)

    def told(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        assert answer.mimetype == "application/json" and answer.headers["Cache-Control"] == "no-store"
        return answer.get_json()

    def walked(self, path: str, kind: str, cursor: str) -> tuple[list[Any], Any]:
        """All of a list, page by page, and the last page."""
        found, at = [], ""
        for _ in range(5):
            page = self.told(f"{path}{at}")
            found += page[kind]
            if page["next"] is None:
                return found, page
            at = f"&{cursor}={page['next']}"
        raise AssertionError(f"{path} has no end")


def token_of(name: str, role: Role | None = None, days: int = 30) -> str:
    with db.write() as session:
        user = users.get(session, name)
        return tokens.make(
            session, user, f"script {len(tokens.of_user(session, user.id))}", role or user.role, days, user
        )


@pytest.fixture
def program(site: Site) -> Callable[..., Program]:
    return lambda name="operator", role=None: Program(site, token_of(name, role))


def test_the_document_is_good_openapi_and_names_every_address(site: Site) -> None:
    answer = Program(site).get("/openapi.json")
    assert answer.status_code == 200, "strangers may read it"
    told = answer.get_json()
    OpenAPIV31SpecValidator(told).validate()
    declared = {(method.upper(), path) for path, item in told["paths"].items() for method in item}
    served = set()
    for rule in site.app.url_map.iter_rules():
        if rule.endpoint.startswith("api.") and rule.endpoint != "api.openapi":
            path = str(rule).removeprefix("/api/v1")
            for kind in ("<id:", "<any(pause,resume,cancel,retry):"):
                path = path.replace(kind, "{")
            served |= {(method, path.replace(">", "}")) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert declared == served and len(served) >= 9
    for path, item in told["paths"].items():
        for one in item.values():
            assert one["summary"] and one["description"], path
    assert told["info"]["description"].startswith("Decision support")


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer cxr_wrong", "Basic cmVhZGVyOng=", "Bearer a b", "cxr_wrong"])
def test_without_a_good_token_nothing_is_told(site: Site, shown: str) -> None:
    client = site.app.test_client(use_cookies=False)
    for path in ("/api/v1/jobs", "/api/v1/studies", "/metrics"):
        answer = client.get(path, headers={"Authorization": shown} if shown else {})
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert set(answer.get_json()) == {"error"}


def test_a_token_ends_with_its_time_its_person_and_when_it_is_revoked(site: Site) -> None:
    program = Program(site, token_of("operator"))
    assert program.get("/jobs").status_code == 200
    with db.write() as session:
        row = session.scalars(select(ApiToken)).one()
        assert row.last_used_at is not None and tokens.is_noted(row)
        row.expires_at = now() - timedelta(seconds=1)
    assert program.get("/jobs").status_code == 401
    with db.write() as session:
        session.scalars(select(ApiToken)).one().expires_at = now() + timedelta(days=1)
        users.set_active(session, users.get(session, "operator"), False, users.get(session, "admin"))
    assert program.get("/jobs").status_code == 401
    with db.write() as session:
        users.set_active(session, users.get(session, "operator"), True, users.get(session, "admin"))
    assert program.get("/jobs").status_code == 200
    with db.write() as session:
        user = users.get(session, "operator")
        tokens.revoke(session, user, "script 0", user)
    assert program.get("/jobs").status_code == 401


def test_a_token_may_do_what_its_role_may_and_never_more_than_its_person(site: Site) -> None:
    whole, little = Program(site, token_of("admin")), Program(site, token_of("admin", Role.OPERATOR))
    path = f"/models/{site.model_id}/rescreen"
    assert little.post(path).status_code == 403
    assert whole.post(path).status_code == 201
    with db.write() as session:
        other = users.add(session, "other", Role.ADMIN)
        users.set_role(session, users.get(session, "admin"), Role.READER, other)
    assert whole.post(path).status_code == 403, "the person may no longer, so the token may not"


def test_a_bad_token_beside_a_good_session_is_refused_and_needs_no_form(site: Site) -> None:
    browser = site.browser("operator")
    headers = {"Authorization": "Bearer cxr_wrong"}
    assert browser.get("/api/v1/jobs", headers=headers).status_code == 401
    assert browser.client.post("/api/v1/jobs", json={"source": "/x"}, headers=headers).status_code == 401
    forged = browser.client.post("/api/v1/jobs", json={"source": "/x"})
    assert forged.status_code == 400 and "another site" in forged.get_json()["error"], "a session wants its proof"


def test_pages_take_no_token(site: Site) -> None:
    token = token_of("admin")
    client = site.app.test_client(use_cookies=False)
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/worklist", "/people", "/account", "/account/tokens", "/audit"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 302 and "/sign-in" in answer.headers["Location"], path
    assert client.post("/account/tokens", data={"name": "x", "role": "admin"}, headers=headers).status_code in (
        302,
        400,
    )
    with db.read() as session:
        assert len(session.scalars(select(ApiToken)).all()) == 1, "a token makes no token"


def test_a_folder_is_queued_followed_and_cancelled(site: Site, program: Callable[..., Program], tmp_path: Path) -> None:
    asks = program()
    folder = tmp_path / "allowed" / "november"
    folder.mkdir()
    answer = asks.post("/jobs", json={"source": str(folder)})
    assert answer.status_code == 201, answer.text
    job = answer.get_json()
    assert (job["title"], job["kind"], job["state"], job["found"]) == (str(folder), "folder", "waiting", 0)
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert asks.post(f"/jobs/{job['id']}/{action}").get_json()["state"] == state
    assert asks.post(f"/jobs/{job['id']}/pause").status_code == 409
    assert asks.post(f"/jobs/{job['id']}/delete").status_code == 404
    with db.read() as session:
        owner = jobs.get(session, job["id"]).user_id
        assert owner == users.get(session, "operator").id
        deeds = session.scalars(select(AuditEvent.action).where(AuditEvent.subject == f"job {job['id']}")).all()
        assert deeds == ["job.create", "job.pause", "job.resume", "job.cancel"]


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"source": "/etc"}, 403, "outside"),
        ({"source": "relative"}, 400, "whole path"),
        ({"source": ""}, 400, "source"),
        ({"source": 3}, 400, "source"),
        ({"folder": "/x"}, 400, "source"),
        ({"source": "/x", "more": 1}, 400, "more"),
        ([], 400, "object"),
        (None, 400, "object"),
    ],
)
def test_what_cannot_be_queued_is_told(program: Callable[..., Program], given: Any, status: int, said: str) -> None:
    answer = program().post("/jobs", json=given)
    assert answer.status_code == status and said in answer.get_json()["error"]


def test_jobs_and_entries_come_in_pages_that_add_up(site: Site, program: Callable[..., Program]) -> None:
    with db.write() as session:
        for number in range(5):
            job = done_job(session, site.model_id, f"night {number}")
        study = scored(session, "case", [0.8, 0.3], site.model_id, job)
        refused = Entry(job_id=job.id, name="notes.txt", status=EntryStatus.REJECTED)
        session.add(refused)
        session.flush()
        session.add(Rejection(entry_id=refused.id, job_id=job.id, reason="no_image", detail="text"))
        job_id, study_id = job.id, study.id
    asks = program()
    listed, _ = asks.walked("/jobs?limit=2", "jobs", "before")
    numbers = [one["id"] for one in listed]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) == 5
    job = asks.told(f"/jobs/{job_id}")
    assert (job["found"], job["scored"], job["rejected"]) == (3, 2, 1) and job["reasons"] == {"no_image": 1}
    first = asks.told(f"/jobs/{job_id}/entries?limit=2")
    rest = asks.told(f"/jobs/{job_id}/entries?after={first['next']}")
    lines = first["entries"] + rest["entries"]
    assert [line["status"] for line in lines] == ["scored", "scored", "rejected"] and rest["next"] is None
    assert [line["flagged"] for line in lines] == [True, False, None]
    assert lines[0]["study"] == study_id and lines[0]["score"] == pytest.approx(0.8)
    assert lines[2]["sentence"] == "The file holds no image." and lines[2]["detail"] == "text"
    only = asks.told(f"/jobs/{job_id}/entries?status=rejected&reason=no_image")
    assert [line["file"] for line in only["entries"]] == ["notes.txt"]
    table = asks.client.get(f"/jobs/{job_id}/export.csv", headers=asks.headers)
    assert table.status_code == 200 and table.text.count("\n") == 4


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/jobs?limit=0",
            "/jobs?limit=1001",
            "/jobs?limit=x",
            "/jobs?before=-1",
            "/jobs?sort=up",
            "/jobs?before=" + "9" * 40,
        ),
        *("/studies?state=closed", "/studies?low=2", "/studies?from=yesterday", "/studies?size=50", "/studies?after=x"),
        *(
            "/jobs?before=1&before=2",
            "/studies?job=x",
            "/studies?q=" + "x" * 99,
            "/jobs/1/entries?status=lost",
            "/jobs/1/entries?after=x",
        ),
    ],
)
def test_what_is_not_understood_is_named(site: Site, program: Callable[..., Program], path: str) -> None:
    with db.write() as session:
        done_job(session, site.model_id)
    answer = program().get(path)
    assert answer.status_code == 400 and answer.get_json()["error"], path


def test_the_worklist_is_that_of_the_page(site: Site, program: Callable[..., Program]) -> None:
    with db.write() as session:
        for number in range(7):
            scored(session, f"case {number}", [0.5 + number / 20], site.model_id, label=f"Study {number}")
        low = scored(session, "low", [0.1], site.model_id).id
        read = scored(session, "read", [0.95], site.model_id)
        studies.review(
            session, read, users.get(session, "reader"), Verdict.CONFIRMED, "both lungs", site.model_id, None
        )
        read_id = read.id
    asks = program()
    listed, page = asks.walked("/studies?limit=3", "studies", "after")
    names = [one["name"] for one in listed]
    assert names == [f"Study {number}" for number in reversed(range(7))]
    assert page["threshold"] == 0.5 and page["model_version"] == site.model_id
    assert [one["id"] for one in asks.told("/studies?state=confirmed")["studies"]] == [read_id]
    assert low in [one["id"] for one in asks.told("/studies?state=all&low=0")["studies"]]
    one = asks.told(f"/studies/{read_id}")
    assert one["reviews"][0]["verdict"] == "confirmed" and one["reviews"][0]["comment"] == "both lungs"
    assert one["answers"][0]["flagged"] is True and one["images"][0]["answer"]["score"] == pytest.approx(0.95)
    assert asks.client.get(one["images"][0]["thumbnail"], headers=asks.headers).status_code in (200, 404)
    assert asks.get("/studies/999").status_code == 404
    with db.read() as session:
        seen = session.scalars(select(AuditEvent.subject).where(AuditEvent.action == "study.view")).all()
        assert seen == [f"study {read_id}"], "who looks leaves a trace, programs too"


def test_what_is_read_blind_stays_blind(site: Site, program: Callable[..., Program]) -> None:
    with db.write() as session:
        study = scored(session, "drawn", [0.9], site.model_id)
        row = session.scalars(select(StudyResult).where(StudyResult.study_id == study.id)).one()
        row.draw = Draw.MASKED
        study_id = study.id
    asks = program("reader")
    (line,) = asks.told("/studies")["studies"]
    assert line["hidden"] and line["score"] is line["flagged"] is line["class"] is line["subclass"] is None
    one = asks.told(f"/studies/{study_id}")
    assert one["hidden"] and one["answers"] == [] and one["images"][0]["answer"] is None
    assert one["images"][0]["heat_map"] is None


def test_a_candidates_answers_are_for_administrators(site: Site, program: Callable[..., Program]) -> None:
    with db.write() as session:
        other = seed.model(session, "m2", state=ModelState.CANDIDATE)
        study = scored(session, "case", [0.9], site.model_id)
        image = session.scalars(select(StudyResult.image_id)).one()
        said = StudyResult(study_id=study.id, model_version_id=other.id, image_id=image, images=1)
        said.label, said.subclass, said.score = "normal", "normal-1", 0.2
        session.add(said)
        study_id = study.id
    for name, versions in (("reader", ["m1"]), ("admin", ["m2", "m1"])):
        assert [one["model"] for one in program(name).told(f"/studies/{study_id}")["answers"]] == versions
    assert [one["name"] for one in program().told("/models")["versions"]] == ["m2", "m1"]


def test_a_file_is_uploaded_with_a_token(site: Site, program: Callable[..., Program]) -> None:
    asks = program()
    tus = {**asks.headers, "Tus-Resumable": "1.0.0"}
    made = asks.client.post(
        "/uploads/tus", headers={**tus, "Upload-Length": "4", "Upload-Metadata": "filename bmlnaHQuemlw"}
    )
    assert made.status_code == 201, made.text
    body = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    sent = asks.client.patch(made.headers["Location"], headers=body, data=b"\x00\x01\x02\x03")
    assert sent.status_code == 204
    job_id = int(sent.headers["Cxrscreen-Job"].rpartition("/")[2])
    assert asks.told(f"/jobs/{job_id}")["title"] == "night.zip"
    other = Program(site, token_of("reader"))
    assert other.client.head(made.headers["Location"], headers={**tus, **other.headers}).status_code == 404


def test_people_make_and_end_their_tokens_on_a_page(site: Site) -> None:
    browser = site.browser("reader")
    page = browser.page("/account/tokens")
    assert 'value="reader"' in page and 'value="admin"' not in page, "no token above one's own role"
    made = browser.post("/account/tokens", {"name": "ris", "role": "operator", "days": "10"}, page="/account/tokens")
    assert made.status_code == 200 and made.text.count("cxr_") == 2
    secret = made.text.partition('id="token"')[2].partition('value="')[2].partition('"')[0]
    assert Program(site, secret).get("/jobs").status_code == 200
    with db.read() as session:
        row = session.scalars(select(ApiToken)).one()
        assert secret not in (row.token_hash, row.name) and row.role is Role.OPERATOR
        assert timedelta(days=9) < row.expires_at - now() <= timedelta(days=10)
    again = browser.post("/account/tokens", {"name": "ris", "role": "operator"}, page="/account/tokens")
    assert again.status_code == 409
    for form, status in (({"name": "x", "role": "admin"}, 400), ({"name": "", "role": "reader"}, 400)):
        assert browser.post("/account/tokens", form, page="/account/tokens").status_code == status
    assert browser.post("/account/tokens", {"name": "x", "role": "reader", "days": "99999"}).status_code == 400
    assert "cxr_" not in browser.page("/account/tokens")
    assert browser.post("/account/tokens/revoke", {"name": "ris"}, page="/account/tokens").status_code == 302
    assert Program(site, secret).get("/jobs").status_code == 401
    assert browser.post("/account/tokens/revoke", {"name": "ris"}).status_code == 404


def test_somebody_has_no_more_than_twenty(site: Site) -> None:
    with db.write() as session:
        user = users.get(session, "operator")
        for number in range(tokens.MOST):
            tokens.make(session, user, f"t{number}", Role.OPERATOR, 1, user)
    browser = site.browser("operator")
    assert browser.post("/account/tokens", {"name": "more", "role": "operator"}).status_code == 409


def test_the_state_is_told_to_prometheus(site: Site) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with db.write() as session:
        job = done_job(session, site.model_id)
        session.add(Job(kind=JobKind.FOLDER, title="x", sources=[], model_version_id=site.model_id))
        scored(session, "case", [0.8, 0.3], site.model_id, job)
        session.add(Entry(job_id=job.id, name="notes.txt", status=EntryStatus.REJECTED))
    program = Program(site, token_of("operator"))
    answer = program.client.get("/metrics", headers=program.headers)
    assert answer.status_code == 200 and answer.content_type.startswith("text/plain")
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert told["cxrscreen_jobs", JobState.DONE.value] == 1 and told["cxrscreen_jobs", JobState.WAITING.value] == 1
    assert told["cxrscreen_entries", "scored"] == 2 and told["cxrscreen_entries", "rejected"] == 1
    assert told["cxrscreen_workers", "screen"] == 0 and told["cxrscreen_alerts",] == 0
    assert told["cxrscreen_active_model", "m1", str(site.model_id)] == 1 and told["cxrscreen_threshold",] == 0.5
    assert told["cxrscreen_broker_up",] in (0, 1) and told["cxrscreen_store_up",] == 1
    assert told["cxrscreen_oldest_job_seconds",] >= 0 and told["cxrscreen_disk_free_bytes",] > 0


def test_on_either_database_a_token_opens_and_the_state_is_told(either_site: Site) -> None:
    with db.write() as session:
        session.add(Study(key="k", label="x"))
    program = Program(either_site, token_of("reader"))
    assert program.told("/studies")["studies"] == []
    assert program.client.get("/metrics", headers=program.headers).status_code == 200
