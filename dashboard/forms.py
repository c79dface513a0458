"""Fields of a form, read with a clear line where one is missing or too long."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

from flask import request

from cxrscreen.errors import UsageError


def text(name: str, *, most: int = 100, needed: bool = True) -> str:
    """A field without the blanks around it."""
    # A browser sends two letters for an end of line, and counts one where it is typed (HTML, 4.10.21.4).
    value = request.form.get(name, "").replace("\r\n", "\n").strip()
    if needed and not value:
        raise UsageError(f"The field {name!r} is empty.")
    if len(value) > most:
        raise UsageError(f"The field {name!r} takes at most {most} characters.")
    return value.replace("\0", "")


def whole(name: str) -> int | None:
    """A whole number, or None for an empty field."""
    value = request.form.get(name, "").strip()
    if not value:
        return None
    return _whole(value)


def query_whole(name: str) -> int | None:
    """The same from the address."""
    value = request.args.get(name, "").strip()
    return _whole(value) if value else None


def fraction(name: str) -> float:
    """A number from 0 to 1."""
    return _fraction(name, request.form.get(name, ""))


def query_fraction(name: str) -> float | None:
    """The same from the address, or None where it is not asked for."""
    value = request.args.get(name, "").strip()
    return _fraction(name, value) if value else None


def came_from() -> str | None:
    """The page of ours that a form was sent from; None for a page that is only looked at, and where nobody says."""
    parts = urlsplit(request.referrer or "")
    if request.method != "POST" or parts.netloc != request.host:
        return None
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _fraction(name: str, written: str) -> float:
    try:
        value = float(written.replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(f"The field {name!r} takes a number from 0 to 1.")
    return value


def _whole(value: str) -> int:
    # A database is never asked for a number that it cannot hold.
    if not value.isascii() or not value.isdigit() or len(value) > 15:
        raise UsageError(f"{value[:40]!r} is no number.")
    return int(value)
