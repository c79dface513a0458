"""Two versions side by side; and the way of one to be the one that people see, and back."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from cxrscreen import compare, db, registry
from cxrscreen.errors import UsageError
from cxrscreen.tables import ModelVersion, Role
from dashboard import forms, identity
from dashboard.models import get_version
from dashboard.security import needs

blueprint = Blueprint("compare", __name__, url_prefix="/models")

SIGN_OFF_LENGTH = 2000


@blueprint.get("/<id:version_id>/compare")
def show(version_id: int) -> str:
    """The version of the address beside another: the one asked for, else the active one."""
    wanted = forms.query_whole("with")
    with db.read() as session:
        version = get_version(session, version_id)
        versions = registry.every(session)
        other = get_version(session, wanted) if wanted is not None else _other(session, version)
        told = _told(session, other, version)
    return render_template("compare.html", version=version, other=other, told=told, versions=versions)


@blueprint.get("/<id:version_id>/activate")
@needs(Role.ADMIN)
def ask(version_id: int) -> str:
    """What would change, before it does (law 7)."""
    with db.read() as session:
        version = get_version(session, version_id)
        before = registry.active(session)
        told = _told(session, before, version)
        limit = registry.threshold(session, version_id)
    return render_template(
        "activate.html", version=version, before=before, told=told, threshold=limit, length=SIGN_OFF_LENGTH
    )


@blueprint.post("/<id:version_id>/activate")
@needs(Role.ADMIN)
def activate(version_id: int) -> Response:
    sign_off = forms.text("sign_off", most=SIGN_OFF_LENGTH, needed=False)
    if not sign_off:
        raise UsageError("Sign for it first: say in a few words what you looked at and why this version may be used.")
    with db.write() as session:
        version = get_version(session, version_id)
        registry.activate(session, version, identity.signed_in().row, sign_off)
    flash(f"{version.name} is the active model now. Screen the archive again to score what it has not seen.", "good")
    return redirect(url_for("models.show", version_id=version_id))


@blueprint.post("/rollback")
@needs(Role.ADMIN)
def roll_back() -> Response:
    with db.write() as session:
        version = registry.roll_back(session, identity.signed_in().row, forms.whole("seen"))
    flash(f"{version.name} is active again, as before the last activation.", "good")
    return redirect(url_for("models.index"))


def _other(session: Session, version: ModelVersion) -> ModelVersion | None:
    used = registry.active(session)
    if used is not None and used.id != version.id:
        return used
    others = (one for one in registry.every(session) if one.id != version.id)
    return registry.previous(session) or next(others, None)


def _told(session: Session, before: ModelVersion | None, version: ModelVersion) -> dict[str, Any] | None:
    return compare.versions(session, before, version) if before and before.id != version.id else None
