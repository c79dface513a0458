"""Who is signed in: the bridge between flask-login and the table of users."""

from __future__ import annotations

import time

import flask_login
from flask import Flask, abort, session

from cxrscreen import audit, db, users
from cxrscreen.settings import get_settings
from cxrscreen.tables import Role, User, now

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


def person() -> Person | None:
    """Who asks, if they are signed in."""
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
