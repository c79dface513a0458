"""Our own scripts, style sheet and pictures, under an address that changes with what they say.

A script names the scripts it imports without knowing that address, so it is a folder of the path, `/static/<mark>/`,
and not a query. What stands under the mark of this release a browser keeps and never asks for again: the page of a case
is a dozen files, and each question would be a way to the server and back before its picture shows.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from flask import Flask, Response, send_from_directory
from flask.sessions import SecureCookieSessionInterface, SessionMixin

FOLDER = Path(__file__).resolve().parent / "static"
# For a year, and not even a reload asks again (`immutable`, RFC 8246).
KEPT = "public, max-age=31536000, immutable"


class Sessions(SecureCookieSessionInterface):
    """What is public has no part in a session: a verdict changes the cookie, and by `Vary: Cookie` a browser would ask
    for each file again."""

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if not response.cache_control.public:
            super().save_session(app, session, response)


def install(app: Flask) -> None:
    app.session_interface = Sessions()
    app.add_url_rule("/static/<mark>/<path:filename>", "static", send)

    @app.url_defaults
    def marked(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values.setdefault("mark", mark_of_release())


def send(mark: str, filename: str) -> Response:
    """A file, to be kept where the mark is that of these files; another release's page gets what there is, unkept."""
    answer = send_from_directory(FOLDER, filename)
    if mark == mark_of_release():
        answer.headers["Cache-Control"] = KEPT
    return answer


@functools.cache
def mark_of_release() -> str:
    """A short digest of the names and contents of all files."""
    told = hashlib.sha256()
    for file in sorted(FOLDER.rglob("*")):
        if file.is_file():
            told.update(f"{file.relative_to(FOLDER).as_posix()}\0{file.stat().st_size}\0".encode())
            told.update(file.read_bytes())
    return told.hexdigest()[:12]
