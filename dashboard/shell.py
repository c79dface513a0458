"""What every page shows around its own matter: the model in use, its banner, and addresses that are made once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from flask import Flask, g, url_for
from markupsafe import Markup, escape
from sqlalchemy.orm import Session

from cxrscreen import db, registry
from dashboard import identity

NOTICE = "Decision support for research and triage, not a medical device."
PLACE = "\ue000"  # a private letter of Unicode, in no sentence and in no name
PHANTOM = "trained on synthetic phantoms: for demonstration only"


@dataclass(frozen=True)
class InUse:
    """The active model version, as the top of each page tells it."""

    id: int
    name: str
    phantom: bool
    threshold: float


def in_use(session: Session | None = None) -> InUse | None:
    """The active version, asked for once a request; `session` is one that is open anyway."""
    if "in_use" not in g:
        with nullcontext(session) if session else db.single() as rows:
            told = registry.in_use(rows)
        g.in_use = told and InUse(*told)
    found: InUse | None = g.in_use
    return found


def addresses(endpoint: str, number: str, **values: Any) -> Callable[[int], str]:
    """Addresses that differ in one number, for the lines of a page: built once, which is dear, and filled in."""
    stand_in = 10**14  # a number as long as the addresses take, in none of them
    values[number] = stand_in
    before, after = url_for(endpoint, **values).split(str(stand_in), 1)
    return lambda of: f"{before}{of}{after}"


def around(sentence: Markup) -> Callable[[str], Markup]:
    """The same for a sentence of a page: what stands around `PLACE` is made once, the value is escaped each time."""
    before, after = str(sentence).split(PLACE, 1)
    return lambda of: Markup(f"{before}{escape(of)}{after}")  # noqa: S704  the sentence is escaped already


def install(app: Flask) -> None:
    @app.context_processor
    def names() -> dict[str, Any]:
        return {
            "person": identity.person,
            "in_use": in_use,
            "NOTICE": NOTICE,
            "PHANTOM": PHANTOM,
            "PLACE": PLACE,
            "around": around,
        }
