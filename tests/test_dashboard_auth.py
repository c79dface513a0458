"""Who gets in, who does not, and how a session ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from dashboard_fixtures import PASSWORD, Browser, Site
from sqlalchemy import event

from cxrscreen import db, users
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Role, SignInLink, User, now
from dashboard import auth


def copied(site: Site, browser: Browser) -> Browser:
    """Another browser with the same cookies."""
    thief = site.browser()
    for cookie in browser.client._cookies.values():
        thief.client.set_cookie(cookie.key, cookie.value)
    return thief


def make_link(name: str) -> str:
    with db.write() as session:
        return users.make_link(session, users.get(session, name))


def test_a_right_password_opens_the_page_that_was_asked_for(site: Site) -> None:
    browser = site.browser()
    asked = browser.get("/jobs?before=7")
    assert asked.status_code == 302
    assert asked.location == "/sign-in?next=/jobs?before%3D7"
    answer = browser.sign_in("reader", following="/jobs?before=7")
    assert (answer.status_code, answer.location) == (302, "/jobs?before=7")
    assert 'href="/account"' in browser.page("/jobs")


@pytest.mark.parametrize("name", ["reader", "nobody", ""])
def test_a_wrong_password_gets_one_answer_whoever_is_named(site: Site, name: str) -> None:
    browser = site.browser()
    answer = browser.sign_in(name, "wrong password")
    assert answer.status_code == 401
    assert "The name or the password is not right." in answer.text
    assert browser.get("/worklist").status_code == 302


def test_no_password_is_known_beforehand(site: Site) -> None:
    with db.write() as session:
        users.add(session, "fresh", Role.ADMIN)
    for guess in ("", "admin", "password", "fresh", "None"):
        assert site.browser().sign_in("fresh", guess).status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/\t/evil.example",
    ],
)
def test_the_next_page_is_never_another_site(site: Site, target: str) -> None:
    assert site.browser().sign_in("reader", following=target).location == "/worklist"
    assert site.browser("reader").get("/sign-in", query_string={"next": target}).location == "/worklist"


def test_ten_failures_shut_out_a_name_from_an_address_and_nobody_else(site: Site) -> None:
    browser = site.browser()
    for _ in range(10):
        assert browser.sign_in("reader", "wrong password").status_code == 401
    shut = browser.sign_in("reader", PASSWORD)
    assert shut.status_code == 429
    assert shut.headers["Retry-After"] == "900"
    assert browser.sign_in("operator").status_code == 302
    assert site.browser().sign_in("reader", address="10.1.2.3").status_code == 302


@pytest.mark.parametrize(
    ("addresses", "status"),
    [
        ([f"2001:db8:0:1::{host:x}" for host in range(1, 11)], 429),
        ([f"2001:db8:0:{net:x}::1" for net in range(10)], 302),
    ],
)
def test_one_connection_has_many_addresses_of_ipv6_and_one_count(site: Site, addresses: list[str], status: int) -> None:
    browser = site.browser()
    for address in addresses:
        assert browser.sign_in("reader", "wrong password", address=address).status_code == 401
    assert browser.sign_in("reader", address=addresses[0]).status_code == status


def test_a_name_is_not_tried_from_a_thousand_addresses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "TRIES_OF_NAME", 5)
    browser = site.browser()
    for host in range(5):
        assert browser.sign_in("reader", "wrong password", address=f"198.51.100.{host}").status_code == 401
    assert browser.sign_in("reader", address="198.51.100.9").status_code == 429
    assert browser.sign_in("operator", address="198.51.100.9").status_code == 302
    token = make_link("reader")
    assert browser.post(f"/enter/{token}", page=f"/enter/{token}").status_code == 302, "a link is a way in"


def test_a_success_ends_the_count_and_old_failures_are_forgotten(site: Site) -> None:
    for _ in range(9):
        site.browser().sign_in("reader", "wrong password")
    assert site.browser().sign_in("reader").status_code == 302
    for _ in range(9):
        site.browser().sign_in("reader", "wrong password")
    assert site.browser().sign_in("reader").status_code == 302
    for _ in range(10):
        site.browser().sign_in("reader", "wrong password")
    assert site.browser().sign_in("reader").status_code == 429
    with db.write() as session:
        for event in session.query(AuditEvent).where(AuditEvent.action == "auth.failed"):
            event.at = now() - timedelta(minutes=16)
    assert site.browser().sign_in("reader").status_code == 302


def test_unknown_names_are_shut_out_alike_and_never_written_down(site: Site) -> None:
    browser = site.browser()
    for _ in range(10):
        assert browser.sign_in("my-secret-passphrase", "x").status_code == 401
    assert browser.sign_in("my-secret-passphrase", "x").status_code == 429
    with db.read() as session:
        told = [(event.actor, event.subject, event.detail) for event in session.query(AuditEvent)]
    assert "secret" not in repr(told)


def test_a_link_is_used_up_by_its_button_and_not_by_a_look(site: Site) -> None:
    token = make_link("reader")
    for _ in range(3):  # a mail scanner, a previewer, the person
        page = site.browser().page(f"/enter/{token}")
        assert 'id="enter"' in page
    browser = site.browser()
    answer = browser.post(f"/enter/{token}", page=f"/enter/{token}")
    assert (answer.status_code, answer.location) == (302, "/worklist")
    assert browser.get("/worklist").status_code == 200
    again = site.browser()
    assert again.post(f"/enter/{token}", page=f"/enter/{token}").status_code == 403
    assert again.get("/worklist").status_code == 302


def test_an_old_link_and_a_made_up_one_open_nothing(site: Site) -> None:
    token = make_link("reader")
    with db.write() as session:
        session.query(SignInLink).update({"expires_at": now() - timedelta(seconds=1)})
    for tried in (token, "made-up"):
        browser = site.browser()
        assert browser.post(f"/enter/{tried}", page=f"/enter/{tried}").status_code == 403
        assert browser.get("/worklist").status_code == 302


def test_who_comes_by_a_first_link_chooses_a_password(site: Site) -> None:
    with db.write() as session:
        users.add(session, "fresh", Role.READER)
    token = make_link("fresh")
    browser = site.browser()
    assert browser.post(f"/enter/{token}", page=f"/enter/{token}").location == "/account"
    assert 'id="old"' not in browser.page("/account")
    assert browser.post("/account/password", {"new": "a new password", "again": "a new password"}).status_code == 302
    assert browser.get("/worklist").status_code == 200, "this session goes on"
    assert 'id="old"' in browser.page("/account"), "from now on the old one is asked for"
    assert site.browser().sign_in("fresh", "a new password").status_code == 302


def test_a_password_changes_only_with_the_old_one_and_ends_other_sessions(site: Site) -> None:
    here, there = site.browser("reader"), site.browser("reader")
    fresh = {"new": "another password", "again": "another password"}
    assert here.post("/account/password", {"old": "not it", **fresh}).status_code == 400
    assert here.post("/account/password", {"old": PASSWORD, **fresh, "again": "typo"}).status_code == 400
    assert here.post("/account/password", {"old": PASSWORD, "new": "short", "again": "short"}).status_code == 400
    assert there.get("/worklist").status_code == 200
    assert here.post("/account/password", {"old": PASSWORD, **fresh}).status_code == 302
    assert here.get("/worklist").status_code == 200
    assert there.get("/worklist").status_code == 302
    assert site.browser().sign_in("reader", PASSWORD).status_code == 401


def test_signing_out_ends_the_session_and_every_copy_of_it(site: Site) -> None:
    browser, elsewhere, other = site.browser("reader"), site.browser("reader"), site.browser("operator")
    thief = copied(site, browser)
    assert thief.get("/worklist").status_code == 200
    assert browser.post("/sign-out").status_code == 302
    for ended in (browser, thief, elsewhere):
        assert ended.get("/worklist").status_code == 302
    assert other.get("/worklist").status_code == 200, "nobody else is signed out"
    assert site.browser("reader").get("/worklist").status_code == 200
    assert thief.get("/worklist").status_code == 302, "a new session of the same person revives no old one"


def test_a_new_role_and_being_kept_out_end_sessions_for_good(site: Site) -> None:
    admin = site.browser("admin")
    with db.read() as session:
        url = f"/people/{users.get(session, 'reader').id}"
    for ways in (("out", "in"), ("role",)):
        browser = site.browser("reader")
        for way in ways:
            assert browser.get("/jobs").status_code == (200 if way != "in" else 302)
            assert admin.post(f"{url}/{way}", {"role": "operator"}).status_code == 302
        assert browser.get("/jobs").status_code == 302, ways
    browser = site.browser("reader")
    assert admin.post(f"{url}/role", {"role": "operator"}).status_code == 302
    assert browser.get("/jobs").status_code == 200, "the role that it was is no change"


def test_a_session_is_looked_up_with_the_user_and_nothing_more(site: Site) -> None:
    browser, asked = site.browser("reader"), []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.extend([statement] * statement.startswith("SELECT"))

    event.listen(db.get_engine(), "before_cursor_execute", note)
    assert browser.get("/uploads/unfinished").status_code == 200
    assert len(asked) == 1 and "users.session_mark" in asked[0]


def test_a_session_ends_after_its_hours_however_busy_it_is(site: Site) -> None:
    browser = site.browser("reader")
    with site.app.test_client() as client:
        with client.session_transaction() as session:
            session["since"] = now().timestamp() - 13 * 3600
            with db.read() as rows:
                user = users.get(rows, "reader")
            from dashboard.identity import Person

            session["_user_id"] = Person(user).get_id()
        assert client.get("/worklist").status_code == 302
        with client.session_transaction() as session:
            session["since"] = now().timestamp() - 11 * 3600
        assert client.get("/worklist").status_code == 200
    assert browser.get("/worklist").status_code == 200


def test_a_form_without_the_token_changes_nothing(site: Site) -> None:
    browser = site.browser("admin")
    for url in ("/sign-out", "/people", f"/models/{site.model_id}/rescreen", "/uploads", "/uploads/folder"):
        answer = browser.client.post(url, data={"name": "x", "role": "admin"})
        assert answer.status_code == 400, url
        assert "out of date" in answer.text
    strange = browser.client.post("/people", data={"name": "x", "role": "admin", "csrf_token": "made-up"})
    assert strange.status_code == 400
    with db.read() as session:
        assert session.query(User).count() == 3


def test_cookies_are_for_this_site_and_out_of_reach_of_scripts(site: Site, configure: Callable[..., Settings]) -> None:
    cookie = site.browser().sign_in("reader").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie
    configure(secure_cookies=True)
    from dashboard import create_app

    site.app = create_app()
    browser = site.browser()
    secure = browser.client.get("/sign-in", base_url="https://localhost").headers["Set-Cookie"]
    assert "; Secure" in secure
    assert browser.client.get("/sign-in").headers["Strict-Transport-Security"] == "max-age=31536000"


def test_an_answer_brings_a_cookie_only_where_there_is_something_to_keep(site: Site) -> None:
    """A late one would otherwise put back what the session was before: its verdicts, and the way to take them back."""
    browser = site.browser("reader")
    assert "Set-Cookie" in browser.get("/worklist").headers  # the token of its forms
    assert "Set-Cookie" not in browser.get("/worklist").headers
    assert "Set-Cookie" not in browser.get("/account").headers
