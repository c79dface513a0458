"""Sign in with a password or a one-time link, sign out, change one's own password."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import timedelta

from flask import Blueprint, abort, flash, redirect, render_template, request, session, url_for
from sqlalchemy.orm import Session
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from cxrscreen import audit, db, users
from cxrscreen.errors import UsageError
from cxrscreen.tables import now
from dashboard import identity
from dashboard.security import safe_next

blueprint = Blueprint("auth", __name__)

FAILED = "auth.failed"
WINDOW = timedelta(minutes=15)
TRIES = 10  # of one name from one address
TRIES_OF_ADDRESS = 100  # of all names: passwords are not sprayed over a list of people
TRIES_OF_NAME = 100  # from all addresses; NIST SP 800-63B allows no more. A sign-in link still lets the person in
PASSWORD_BYTES = 1000  # Argon2 is not fed a megabyte


@blueprint.get("/sign-in")
def sign_in() -> str | Response:
    if identity.person():
        return redirect(safe_next(request.args.get("next")))
    return render_template("sign_in.html", following=safe_next(request.args.get("next")))


@blueprint.post("/sign-in")
def check_password() -> str | Response | tuple[str, int]:
    name, password = request.form.get("name", "").strip()[:200], request.form.get("password", "")
    following = safe_next(request.form.get("next"))
    user = None
    if name and password:
        _throttle(name)
        with db.read() as rows:
            user = users.verify(rows, name, password[:PASSWORD_BYTES])
        if user is None:
            _note_failure(name)
    if user is None:
        return render_template("sign_in.html", following=following, failed=True, name=name), 401
    identity.enter(user, _address())
    return redirect(following)


@blueprint.get("/enter/<token>")
def show_link(token: str) -> str:
    """The page behind a sign-in link. It uses nothing up: mail scanners open links, people press buttons."""
    return render_template("enter.html", token=token)


@blueprint.post("/enter/<token>")
def use_link(token: str) -> Response:
    with db.write() as rows:
        user = users.use_link(rows, token)
    if user is None:
        abort(403, "This link was used before, or its hour is over. Ask an administrator for a new one.")
    identity.enter(user, _address(), by_link=True)
    if user.password_hash is None:
        flash("You are signed in. Choose a password now; the link works only once.", "note")
        return redirect(url_for("auth.account"))
    return redirect(url_for("worklist.index"))


@blueprint.post("/sign-out")
def sign_out() -> Response:
    identity.leave()
    flash("You are signed out, here and wherever else you were signed in.", "note")
    return redirect(url_for("auth.sign_in"))


@blueprint.get("/account")
def account() -> str:
    return render_template("account.html", asks_old=_asks_old(), least=users.PASSWORD_LENGTH)


@blueprint.post("/account/password")
def change_password() -> Response:
    me = identity.signed_in()
    old, new = request.form.get("old", ""), request.form.get("new", "")
    if new != request.form.get("again", ""):
        raise UsageError("The new password and its repetition differ.")
    if len(new) > PASSWORD_BYTES:
        raise UsageError(f"A password takes at most {PASSWORD_BYTES} characters.")
    if _asks_old():
        _throttle(me.name)
        with db.read() as rows:
            known = users.verify(rows, me.name, old[:PASSWORD_BYTES])
        if known is None:
            _note_failure(me.name)
            raise UsageError("The current password is not right.")
    with db.write() as rows:
        user = users.by_id(rows, me.row.id)
        users.set_password(user, new)
        audit.record(rows, user, "user.password", f"user {user.id}")
    identity.keep_in(user)
    flash("Your password is changed. Other sessions of yours have ended.", "good")
    return redirect(url_for("auth.account"))


def _asks_old() -> bool:
    """Who came by a link may have forgotten the old password; who never had one has none to give."""
    return identity.signed_in().row.password_hash is not None and not session.get(identity.BY_LINK)


def _throttle(name: str) -> None:
    """Ten failures of a name from an address shut that pair out for a while; others are not touched by it, unless
    many fail from one address or for one name.

    Failures are counted in the audit log, so neither a restart nor a second process forgets them.
    """
    with db.read() as rows:
        since, subject, actor = now() - WINDOW, f"address {_address()}", _actor(rows, name)
        everyone = audit.count_since(rows, FAILED, subject, since)
        since = audit.last_at(rows, "auth.sign-in", subject, since, actor) or since
        own = audit.count_since(rows, FAILED, subject, since, actor)
        everywhere = audit.count_since(rows, FAILED, None, now() - WINDOW, actor)
    if own >= TRIES or everyone >= TRIES_OF_ADDRESS or everywhere >= TRIES_OF_NAME:
        raise TooManyRequests(
            "Too many failed sign-ins. Wait a quarter of an hour, or ask an administrator for a sign-in link.",
            retry_after=int(WINDOW.total_seconds()),
        )


def _note_failure(name: str) -> None:
    with db.write() as rows:
        audit.record(rows, _actor(rows, name), FAILED, f"address {_address()}")


def _actor(rows: Session, name: str) -> str:
    """The name where there is such a user; else a hash, for people type passwords into the wrong field."""
    if users.find(rows, name):
        return name
    return f"unknown {hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _address() -> str:
    """Whose line it is. A line of IPv6 has 2^64 addresses to take turns with, so it goes by its network."""
    told = request.remote_addr or ""
    try:
        address = ipaddress.ip_address(told.partition("%")[0])
    except ValueError:
        return told[:45] or "unknown"
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback:
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
