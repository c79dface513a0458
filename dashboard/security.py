"""The guard at the door: who may ask, what a body may weigh, the CSRF token, and the headers of every answer."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, flash, redirect, request, url_for
from flask_wtf import csrf
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.wrappers import Response as AnyResponse

from cxrscreen import db, registry, users
from cxrscreen.settings import get_settings
from cxrscreen.tables import Role
from dashboard import forms, identity
from dashboard.errors import DiskFull, wants_json

P = ParamSpec("P")
R = TypeVar("R")

# Everything else is for people who are signed in.
OPEN = {
    *("static", "auth.sign_in", "auth.check_password", "auth.show_link", "auth.use_link", "system.healthz"),
    *("languages.choose", "languages.words", "api.openapi"),
}
BEARER = WWWAuthenticate("bearer", {"realm": "cxrscreen"})
RECEIVES_FILES = "uploads.receive"
RECEIVES_BYTES = {"tus.create", "tus.append", "tus.overridden"}
FORM_BYTES = 1 << 20

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # A sign-in link must not leave in a Referer; the CSRF check over HTTPS needs one of our own.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def install(app: Flask) -> None:
    protect = csrf.CSRFProtect(app)

    @app.before_request
    def guard() -> AnyResponse | None:
        if request.endpoint is None or request.endpoint == "static":
            return None
        if request.endpoint != RECEIVES_FILES and not _resumable():
            request.max_content_length = FORM_BYTES
        if request.endpoint not in OPEN and identity.person() is None:
            return _ask_to_sign_in()
        if request.endpoint == RECEIVES_FILES:
            _before_a_long_body()
        if not identity.by_token():
            protect.protect()
        return None

    @app.after_request
    def seal(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        # Pages name patients and show their pictures: no cache keeps them. Pictures say for themselves.
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        if get_settings().secure_cookies:  # whoever sets it serves HTTPS only
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return response


def needs(role: Role) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only people of this role, or one above it, call a view."""

    def wrap(view: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(view)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if not users.may(identity.signed_in().row, role):
                raise Forbidden(f"This needs the role {role.value}; ask an administrator.")
            return view(*args, **kwargs)

        checked.__dict__["needs"] = role
        return checked

    return wrap


def safe_next(target: str | None) -> str:
    """A path of ours to go to after the sign-in; anything that could lead elsewhere becomes the first page."""
    home = url_for("worklist.index")
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return home
    if any(ord(letter) < 33 for letter in target):
        return home
    parts = urlsplit(target)
    return home if parts.scheme or parts.netloc else target


def _ask_to_sign_in() -> AnyResponse:
    if identity.for_programs():
        raise Unauthorized("Show a token that is good: Authorization: Bearer ...", www_authenticate=BEARER)
    if wants_json():
        raise Unauthorized("Your session ended; sign in again.")
    if request.method == "GET":
        following: str | None = request.full_path.rstrip("?")
    else:
        following = forms.came_from()
        if request.endpoint != "auth.sign_out":
            flash("Your session had ended, so this was not saved. Sign in and send it again.", "bad")
    return redirect(url_for("auth.sign_in", next=following))


def _resumable() -> bool:
    """Plain bytes, read by the view itself. A form at the same address would be read before its token is checked."""
    return request.endpoint in RECEIVES_BYTES and request.mimetype == "application/offset+octet-stream"


def _before_a_long_body() -> None:
    """Refuse at once what would be refused after hours: no model to screen with, no room on the disk."""
    with db.read() as session:
        registry.need_active(session)
    folder = get_settings().upload_dir
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < (request.content_length or 0):
        raise DiskFull
