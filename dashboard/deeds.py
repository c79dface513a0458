"""What a row of the audit trail tells beside its deed: pairs of a name and a value, in the language of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flask import Flask

from dashboard import filters, languages

# What is told beside a deed, and what the address of a page that was looked at asked for.
DETAILS = (
    *("verdict", "reading", "images", "results", "verdicts", "uploads", "name", "before", "threshold", "window"),
    *("role", "why", "title", "entries", "patient", "study", "zone", "enabled", "policy", "model"),
    *("state", "job", "class", "subclass", "reader", "assigned", "sort", "image", "reason", "status", "from", "to"),
    *("folder", "flagged", "yes", "no"),
)
RENAMED = {
    **{"way": "how", "sign_off": "signed for", "by": "by way of", "chosen": "chosen by hand", "review": "verdict no."},
    **{"cron": "times", "last_verdict": "last verdict", "as": "file type", "beside": "beside study", "size": "lines"},
    **{"low": "score from", "high": "score to", "q": "search", "since": "from", "until": "to", "after": "page from"},
    **{"action": "what", "actor": "who", "subject": "on", "auth": "signing in", "watch": "only what is new"},
    **{"bytes": "in all", "rate": "images a minute"},
}
WAYS_IN = ("link", "password")
# Details whose values are words of fixed lists, and no names.
WORDED = {"verdict", "last_verdict", "way", "role", "state", "status", "sort", "by"}
COUNTED = {"images", "results", "verdicts", "uploads", "entries", "rejected", "failed", "cancelled", "rate"}
SCORES = {"low", "high"}
# A day as pages ask for it, or as a schedule keeps it: its first moment.
DAY = re.compile(r"\d{4}-\d\d-\d\d(T00:00:00\+00:00)?")


def told(detail: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of what is told and its value; what says nothing is left out."""
    return list(_pairs(detail))


def name(key: str) -> str:
    return languages.said(RENAMED.get(key, key))


def _pairs(detail: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in detail.items():
        if isinstance(value, dict):  # what a schedule reads
            yield from _pairs(value)
        elif value is not None and value not in ("", []):
            yield name(key), _value(key, value)


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return languages.said("yes" if value else "no")
    if isinstance(value, float):
        return filters.threshold(value)
    if isinstance(value, int) and key == "bytes":
        return filters.size(value)
    if isinstance(value, int) and key in COUNTED:
        return filters.number(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    written = str(value)
    if key in WORDED:
        return languages.said(written)
    if key in SCORES:
        return filters.local(written)
    return filters.day(written[:10]) if DAY.fullmatch(written) else written


def install(app: Flask) -> None:
    app.add_template_filter(told, "told")
