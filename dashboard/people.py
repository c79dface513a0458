"""People, for administrators: add, change a role, keep out, hand out a one-time link."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from cxrscreen import audit, db, users
from cxrscreen.errors import UsageError
from cxrscreen.tables import Role
from dashboard import forms, identity
from dashboard.roles import RIGHTS
from dashboard.security import needs

blueprint = Blueprint("people", __name__, url_prefix="/people")


@blueprint.get("")
@needs(Role.ADMIN)
def index() -> str:
    with db.read() as session:
        found = users.every(session)
    return render_template(
        "people.html", people=found, roles=list(Role), least=users.PASSWORD_LENGTH, rights=RIGHTS, rank=users.RANK
    )


@blueprint.post("")
@needs(Role.ADMIN)
def add() -> str | Response:
    """Add a person; with no password they get a link, and choose one themselves."""
    password = request.form.get("password", "")
    with db.write() as session:
        user = users.add(session, forms.text("name"), _role(), password or None, actor=identity.signed_in().row)
        token = None if password else users.make_link(session, user)
    if token:
        return render_template("link.html", user=user, token=token)
    flash(f"{user.name} may sign in as {user.role.value}.", "good")
    return redirect(url_for("people.index"))


@blueprint.post("/<id:user_id>/role")
@needs(Role.ADMIN)
def set_role(user_id: int) -> Response:
    with db.write() as session:
        user = users.by_id(session, user_id)
        users.set_role(session, user, _role(), identity.signed_in().row)
    flash(f"{user.name} is {user.role.value} now.", "good")
    return redirect(url_for("people.index"))


@blueprint.post("/<id:user_id>/<any(in,out):way>")
@needs(Role.ADMIN)
def set_active(user_id: int, way: str) -> Response:
    """Out: the next request of any of their sessions is turned away."""
    with db.write() as session:
        user = users.by_id(session, user_id)
        users.set_active(session, user, way == "in", identity.signed_in().row)
    flash(f"{user.name} may sign in again." if way == "in" else f"{user.name} can no longer sign in.", "good")
    return redirect(url_for("people.index"))


@blueprint.post("/<id:user_id>/link")
@needs(Role.ADMIN)
def make_link(user_id: int) -> str:
    """Shown once: only its hash is kept."""
    with db.write() as session:
        user = users.by_id(session, user_id)
        if not user.active:
            raise UsageError(f"{user.name} cannot sign in; let them in first.")
        token = users.make_link(session, user)
        audit.record(session, identity.signed_in().row, "user.link", f"user {user.id}", name=user.name)
    return render_template("link.html", user=user, token=token)


def _role() -> Role:
    wanted = forms.text("role", most=20)
    if wanted not in Role._value2member_map_:
        raise UsageError(f"A role is one of {', '.join(Role)}.")
    return Role(wanted)
