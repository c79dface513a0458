"""Who is signed in: the bridge between flask-login and the table of users."""

from __future__ import annotations

import time

import flask_login
from flask import Flask, abort, g, request, session

from cxrscreen import audit, db, tokens, users
from cxrscreen.settings import get_settings
from cxrscreen.tables import Role, User, now

# The rooms and addresses that programs may ask with a token; everything else is for people with a session.
BY_TOKEN = {"api", "metrics", "tus", "groups", "images", "uploads.receive", "jobs.export", "exports.reviewed"}
OF_PROGRAMS = ("/api/", "/metrics")
SINCE = "since"
BY_LINK = "by_link"


class Person:
    """A signed-in user, as flask-login wants one. `row` is detached: read it, change nothing on it."""

    is_authenticated = True
    is_anonymous = False

    def __init__(self, row: User) -> None:
        self.row = row

    @property
    def is_active(self) -> bool:
        return self.row.active

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def may_read(self) -> bool:
        return users.may(self.row, Role.READER)

    @property
    def may_administer(self) -> bool:
        return users.may(self.row, Role.ADMIN)

    def get_id(self) -> str:
        """What a session's cookie holds: the number, and the mark that the table must show to let it in."""
        return f"{self.row.id}.{self.row.session_mark}"


def install(app: Flask) -> None:
    manager = flask_login.LoginManager()
    # No user in every template by itself: the page of a database that does not answer must not ask it.
    manager.init_app(app, add_context_processor=False)
    manager.user_loader(load)


def load(identity: str) -> Person | None:
    """The person behind a session; None where it is too old, or the user's sessions have ended since."""
    number, _, mark = identity.partition(".")
    age = time.time() - float(session.get(SINCE, 0))
    if not number.isdigit() or age > get_settings().session_hours * 3600:
        return None
    with db.single() as rows:
        row = rows.get(User, int(number))
    if row is None or not row.active or row.session_mark != mark:
        return None
    return Person(row)


def by_token() -> bool:
    """Whether this request shows a token, good or bad, at an address that takes one.

    Then nothing but the token counts: a browser sends a cookie by itself, and a token never, so what comes with one
    needs no proof that a page of ours sent it.
    """
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer":
        return False
    return request.blueprint in BY_TOKEN or request.endpoint in BY_TOKEN


def for_programs() -> bool:
    """Whether a program asks, as far as can be told: it shows a token, or the address is one of theirs."""
    return by_token() or request.path.startswith(OF_PROGRAMS)


def _of_token() -> Person | None:
    """The person behind the token, with no more rights than the token has."""
    if "of_token" not in g:
        g.of_token = None
        shown = request.authorization.token if request.authorization else None
        with db.single() as rows:
            found = tokens.holder(rows, shown or "")
        if found is not None:
            user, token = found
            if not tokens.is_noted(token):
                with db.single(writes=True) as rows:
                    tokens.note_use(rows, token.id)
            user.role = min(user.role, token.role, key=users.RANK.__getitem__)
            g.of_token = Person(user)
    held: Person | None = g.of_token
    return held


def person() -> Person | None:
    """Who asks, if they are signed in or show a token."""
    if by_token():
        return _of_token()
    found = flask_login.current_user
    return found._get_current_object() if found.is_authenticated else None


def signed_in() -> Person:
    """Who asks; the guard has let nobody else in."""
    found = person()
    if found is None:
        abort(401)
    return found


def enter(user: User, address: str, *, by_link: bool = False) -> None:
    """Begin a session that carries nothing over from before."""
    session.clear()
    session.permanent = True
    session[SINCE] = time.time()
    session[BY_LINK] = by_link
    flask_login.login_user(Person(user))
    with db.write() as rows:
        row = users.by_id(rows, user.id)
        row.last_seen_at = now()
        audit.record(rows, row, "auth.sign-in", f"address {address}", by="link" if by_link else "password")


def keep_in(user: User) -> None:
    """Go on in this session after the user's password changed."""
    session[BY_LINK] = False
    flask_login.login_user(Person(user))


def leave() -> None:
    """End every session of who asks: a copy of the cookie, on this machine or another, opens nothing any more."""
    with db.write() as rows:
        users.end_sessions(users.by_id(rows, signed_in().row.id))
    flask_login.logout_user()
    session.clear()
