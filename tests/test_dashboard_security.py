"""What holds for every page: who may see it, which headers it carries, that no markup runs, how errors look."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from dashboard_fixtures import FRAGMENTS, Site, addresses
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

import dashboard
from cxrscreen import db, users
from cxrscreen.settings import Settings
from cxrscreen.tables import User
from dashboard import create_app, security

TEMPLATES = sorted((Path(dashboard.__file__).parent / "templates").glob("*.html"))
NO_SIGN_IN = {"/sign-in", "/enter/x", "/healthz", "/words/ru.js", "/language", "/api/v1/openapi.json"}
FOR_PROGRAMS = ("/api/", "/metrics")


def test_every_page_answers_and_carries_the_headers(full: Site) -> None:
    browser = full.browser("admin")
    seen = 0
    for _, url in addresses(full, "GET"):
        answer = browser.get(url)
        assert answer.status_code in (200, 302), (url, answer.status_code)
        assert answer.headers["Content-Security-Policy"] == security.POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] in ("no-store", "private, no-cache"), url
        seen += 1
    assert seen > 20
    assert "unsafe" not in security.POLICY and "*" not in security.POLICY
    for url in ("/static/x/cxrscreen.css", "/nowhere"):
        assert browser.get(url).headers["Content-Security-Policy"] == security.POLICY


def test_every_page_says_what_it_is_not_and_the_phantom_model_is_named(full: Site) -> None:
    browser = full.browser("admin")
    pages = 0
    for _, url in addresses(full, "GET"):
        answer = browser.get(url)
        if answer.mimetype == "text/html" and answer.status_code == 200 and url not in FRAGMENTS:
            assert "Decision support for research and triage, not a medical device." in answer.text, url
            if url not in NO_SIGN_IN:
                assert "trained on synthetic phantoms: for demonstration only" in answer.text, url
            pages += 1
    assert pages > 14


def test_strangers_see_nothing_but_the_door(full: Site) -> None:
    stranger = full.browser()
    for _, url in addresses(full, "GET"):
        answer = stranger.get(url)
        if url in NO_SIGN_IN:
            assert answer.status_code == 200
        elif url.startswith(FOR_PROGRAMS):
            assert answer.status_code == 401 and "token" in answer.get_json()["error"], url
        else:
            assert (answer.status_code, answer.location.partition("?")[0]) == (302, "/sign-in"), url
            told = stranger.get(url, headers={"Accept": "application/json"})
            assert told.status_code == 401 and told.json == {"error": "Your session ended; sign in again."}
    for _, url in addresses(full, "POST"):
        if url not in NO_SIGN_IN:
            assert stranger.client.post(url).status_code == (401 if url.startswith(FOR_PROGRAMS) else 302), url
    for came, following in (
        ("http://localhost/studies/1?image=2", "/studies/1?image%3D2"),
        ("http://elsewhere.example/studies/1", ""),
        ("", ""),
    ):
        answer = stranger.client.post("/studies/1/review", headers={"Referer": came})
        assert answer.location.partition("?next=")[2] == following, came
    assert "this was not saved. Sign in and send it again." in stranger.page("/sign-in")


def test_nothing_is_changed_without_the_token(full: Site) -> None:
    """Whatever the method and whoever asks: a form of another site carries the cookie and not the token."""
    browser, seen = full.browser("admin"), 0
    for method in ("POST", "PATCH", "DELETE", "PUT"):
        for _, url in addresses(full, method):
            answer = browser.client.open(url, method=method, headers={"Tus-Resumable": "1.0.0"})
            assert (answer.status_code, "another site" in answer.text) == (400, True), (method, url, answer.text[:200])
            seen += 1
    assert seen > 30
    assert browser.get("/people").status_code == 200, "not even the session was ended"


def test_each_role_may_do_its_own_and_no_more(full: Site) -> None:
    admins = {
        "/people",
        "/people/1/role",
        "/people/1/out",
        "/people/1/link",
        "/audit",
        "/models/1/activate",
        "/models/rollback",
        "/models/1/threshold",
        "/models/1/rescreen",
        "/api/v1/models/1/rescreen",
        "/studies/1/delete",
        "/jobs/1/clear",
    }
    readers = {"/studies/1/review", "/studies/undo", "/worklist/selected", "/agreement", "/reviewed.parquet"}
    for name, forbidden in (("operator", admins | readers), ("reader", admins)):
        browser = full.browser(name)
        token = browser.token()
        refused = {url for _, url in addresses(full, "GET") if browser.get(url).status_code == 403}
        for _, url in addresses(full, "POST"):
            # A link that does not exist is refused to everybody, and signing out would end the test.
            if url not in ("/enter/x", "/sign-out"):
                answer = browser.client.post(url, data={"csrf_token": token})
                refused |= {url} if answer.status_code == 403 else set()
        assert refused == forbidden


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_code_or_style_in_its_markup(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<style|<link[^>]+https?:|@import", text)
    assert not re.search(r"\sstyle\s*=", text)
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", text)
    assert not re.search(r"javascript:", text)
    assert not re.search(r"\|\s*safe\b|autoescape", text)
    for tag in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL):
        assert not tag.strip()
    assert not re.search(r"(src|href|action)=[\"']https?:", text)


def test_nothing_of_ours_is_fetched_from_elsewhere() -> None:
    for path in (Path(dashboard.__file__).parent / "static").rglob("*.*"):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|eval\(|innerHTML|new Function", text), path


@pytest.mark.parametrize(
    "url",
    [
        "/studies/999",
        "/jobs/999",
        "/jobs/999/progress",
        "/jobs/999/entries",
        "/jobs/999/export.csv",
        "/models/999",
        "/models/999/activate",
        "/images/999/picture.png",
        "/images/999/thumb.jpg",
        "/images/999/heat.png",
        "/images/1/picture.gif",
        "/studies/99999999999999999999999999",
        "/studies/-1",
        "/worklist?job=999",
        "/jobs/1/entries?status=strange",
        "/nowhere",
    ],
)
def test_what_is_not_there_is_a_clear_page(full: Site, url: str) -> None:
    answer = full.browser("admin").get(url)
    assert answer.status_code == 404
    assert 'id="error"' in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(
    "url", ["/worklist?after=x", "/worklist?after=nan,1", "/worklist?after=0.5,-3", "/jobs?before=x"]
)
def test_an_address_that_makes_no_sense_is_a_clear_page(full: Site, url: str) -> None:
    assert full.browser("reader").get(url).status_code == 400


def test_errors_are_json_to_those_who_ask_for_it(full: Site) -> None:
    answer = full.browser("reader").get("/jobs/999/progress", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json) == (404, {"error": "There is no job 999."})
    assert full.browser("reader").client.delete("/jobs").status_code == 405


def test_an_unexpected_error_shows_no_insides(full: Site) -> None:
    def fail() -> str:
        raise RuntimeError("the secret inside")

    full.app.add_url_rule("/fails", "fails", fail)
    answer = full.browser("reader").get("/fails")
    assert answer.status_code == 500
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert answer.headers["Content-Security-Policy"] == security.POLICY


def test_health_follows_the_database(full: Site, configure: Callable[..., Settings], tmp_path: Path) -> None:
    answer = full.browser().get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": True})
    configure(database_url=f"sqlite:///{tmp_path}/no/such/folder.db")
    answer = full.browser().get("/healthz")
    assert (answer.status_code, answer.json) == (503, {"status": "down", "database": False})
    page = full.browser().get("/sign-in")
    assert page.status_code == 200


def test_a_database_that_is_gone_is_a_page_and_not_a_traceback(
    full: Site, configure: Callable[..., Settings], tmp_path: Path
) -> None:
    browser = full.browser("reader")
    configure(database_url=f"sqlite:///{tmp_path}/no/such/folder.db")
    answer = browser.get("/worklist")
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text


def test_who_meets_others_over_the_same_rows_is_told_to_try_again(full: Site, tmp_path: Path) -> None:
    one, other = (sqlite3.connect(tmp_path / "rows.db", timeout=0, isolation_level=None) for _ in range(2))
    one.execute("BEGIN IMMEDIATE")

    @full.app.get("/meets")
    def meets() -> str:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise OperationalError("BEGIN IMMEDIATE", {}, error) from error
        return "alone"

    answer = full.browser("reader").get("/meets")
    assert answer.status_code == 503
    assert "Others wrote to the same rows" in answer.text and "does not answer" not in answer.text
    one.close()
    assert full.browser("reader").get("/meets").text == "alone"
    other.close()


def test_proxies_are_believed_only_when_there_are_any(full: Site, configure: Callable[..., Settings]) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}

    def link() -> str:
        browser = full.browser("admin")
        data = {"csrf_token": browser.token()}
        headers = {**forwarded, "Referer": "https://evil.example/people"}
        return browser.client.post("/people/1/link", data=data, headers=headers).text

    assert "http://localhost/enter/" in link()
    configure(trusted_proxies=1)
    full.app = create_app()
    assert "https://evil.example/enter/" in link()


def test_a_form_is_no_way_to_send_a_gigabyte(full: Site) -> None:
    browser = full.browser("reader")
    answer = browser.client.post("/sign-out", data={"csrf_token": "x" * (2 << 20)})
    assert answer.status_code == 413


def test_who_comes_second_is_told_so(either_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people add the same name: neither finds it, and the index lets one in."""
    browser = either_site.browser("admin")
    form = {"name": "new", "role": "reader", "password": "correct horse battery"}
    assert browser.post("/people", form, page="/people").status_code == 302
    monkeypatch.setattr(users, "find", lambda *_: None)
    answer = browser.post("/people", form, page="/people")
    assert answer.status_code == 409 and "Nothing was changed: look again." in answer.text
    with db.read() as session:
        assert session.scalar(select(func.count()).where(User.name == "new")) == 1


def test_a_row_that_no_table_takes_is_our_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = site.browser("admin")
    monkeypatch.setattr(users, "need_free", lambda *_: None)
    answer = browser.post("/people", {"name": "x", "role": "reader"}, page="/people")
    assert answer.status_code == 500 and "Something went wrong on our side" in answer.text
