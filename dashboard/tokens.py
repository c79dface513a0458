"""Tokens of one's own, on the account page: make one for a program, see which are used, end one."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from cxrscreen import db, tokens, users
from cxrscreen.errors import UsageError
from cxrscreen.tables import Role
from dashboard import forms, identity
from dashboard.filters import isolated

blueprint = Blueprint("tokens", __name__, url_prefix="/account/tokens")


@blueprint.get("")
def index() -> str:
    return _page()


@blueprint.post("")
def make() -> str:
    """Shown once: only its hash is kept."""
    me = identity.signed_in().row
    role = forms.text("role", most=20)
    if role not in Role._value2member_map_:
        raise UsageError(f"A role is one of {', '.join(Role)}.")
    with db.write() as session:
        user = users.by_id(session, me.id)
        name = forms.text("name", most=tokens.NAME_LENGTH)
        made = tokens.make(session, user, name, Role(role), forms.whole("days") or tokens.DAYS, user)
    return _page(made, name)


@blueprint.post("/revoke")
def revoke() -> Response:
    name = forms.text("name", most=tokens.NAME_LENGTH)
    with db.write() as session:
        user = users.by_id(session, identity.signed_in().row.id)
        tokens.revoke(session, user, name, user)
    flash(f"The token {isolated(name)} is no longer good.", "good")
    return redirect(url_for("tokens.index"))


def _page(made: str = "", made_name: str = "") -> str:
    me = identity.signed_in().row
    with db.read() as session:
        held = tokens.of_user(session, me.id)
    return render_template(
        "tokens.html",
        held=held,
        made=made,
        made_name=made_name,
        roles=[role for role in Role if users.may(me, role)],
        days=tokens.DAYS,
        most_days=tokens.MOST_DAYS,
        name_length=tokens.NAME_LENGTH,
    )
