"""What went wrong, as a page or as JSON, with the status that fits; never a traceback."""

from __future__ import annotations

import errno
import logging

from flask import Flask, Response, jsonify, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from cxrscreen import db
from cxrscreen.errors import CxrscreenError, NoModel
from dashboard import forms, identity
from dashboard.languages import said

log = logging.getLogger(__name__)

TITLES = {
    400: "That request was not understood",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Not possible now",
    410: "No longer here",
    413: "Too large",
    429: "Too many tries",
    500: "Something went wrong on our side",
    503: "Not ready",
    507: "The disk is full",
}
TEXTS = {
    404: "There is nothing at this address; it may have been typed wrongly, or belong to another installation.",
    405: "This address answers another kind of request.",
    413: "The upload or form is larger than this server takes. An administrator sets its limit.",
    500: "Nothing was half done, and the server's log has the details: try again, or tell an administrator.",
    503: "The database does not answer. Try again in a moment.",
}

SAID = {
    "busy": "Others wrote to the same rows at that moment. Nothing was changed: try again.",
    "overtaken": "Somebody else just made the same, or removed what this needs. Nothing was changed: look again.",
}


class DiskFull(CxrscreenError):
    http_status = 507

    def __init__(self) -> None:
        super().__init__("There is not enough room on the server's disk for this upload; nothing was kept.")


def wants_json() -> bool:
    """The client asked for JSON before HTML, or is a program, or speaks the upload protocol."""
    if "Tus-Resumable" in request.headers or identity.for_programs():
        return True
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def install(app: Flask) -> None:
    app.register_error_handler(CxrscreenError, _ours)
    app.register_error_handler(CSRFError, _stale_form)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OperationalError, _no_database)
    app.register_error_handler(PoolTimeout, _no_database)
    app.register_error_handler(IntegrityError, _overtaken)
    app.register_error_handler(OSError, _disk)


def answer(status: int, text: str, title: str = "", *, no_model: bool = False) -> Response:
    """An error as JSON or as a page; a page of the 500s asks the database for nothing.

    Where a model is missing, the page leads to where one is activated.
    """
    if wants_json():
        response = jsonify(error=said(text))
    else:
        whole = status < 500 and identity.person() is not None
        page = render_template(
            "error.html",
            layout="base.html" if whole else "bare.html",
            text=text,
            title=title or TITLES.get(status, "Error"),
            no_model=no_model,
            back=forms.came_from(),
        )
        response = Response(page)
    response.status_code = status
    return response


def _ours(error: CxrscreenError) -> Response:
    return answer(error.http_status, str(error), no_model=isinstance(error, NoModel))


def _stale_form(_error: CSRFError) -> Response:
    return answer(
        400,
        "This form belongs to a session that has ended, or came from another site. Reload the page and send it again.",
        "The form is out of date",
    )


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    standard = type(error).description
    said = error.description if error.description and error.description != standard else ""
    response = answer(status, said or TEXTS.get(status, error.description or error.name))
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _no_database(error: SQLAlchemyError) -> Response:
    if db.is_busy(error):
        log.warning("Somebody else stood in the way: %s", error)
        return answer(503, SAID["busy"])
    log.error("The database does not answer: %s", error)
    return answer(503, TEXTS[503])


def _overtaken(error: IntegrityError) -> Response:
    if db.is_overtaken(error):
        log.warning("Somebody else was first: %s", error)
        return answer(409, SAID["overtaken"])
    log.exception("The database refused what should not have been asked")
    return answer(500, TEXTS[500])


def _disk(error: OSError) -> Response:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _ours(DiskFull())
    log.exception("Unexpected: %s", error)
    return answer(500, TEXTS[500])
