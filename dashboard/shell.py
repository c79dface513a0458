"""What every page shows around its own matter: the model in use, its banner, and the addresses of our files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, g, url_for

from cxrscreen import db, registry
from dashboard import identity

NOTICE = "Decision support for research and triage, not a medical device."
PHANTOM = "trained on synthetic phantoms: for demonstration only"


@dataclass(frozen=True)
class InUse:
    """The active model version, as the top of each page tells it."""

    id: int
    name: str
    phantom: bool
    threshold: float


def in_use() -> InUse | None:
    """The active version, asked for once a request."""
    if "in_use" not in g:
        with db.read() as session:
            version = registry.active(session)
            g.in_use = version and InUse(
                version.id, version.name, version.phantom, registry.threshold(session, version.id)
            )
    found: InUse | None = g.in_use
    return found


def addresses(endpoint: str, number: str, **values: Any) -> Callable[[int], str]:
    """Addresses that differ in one number, for the lines of a page: built once, which is dear, and filled in."""
    stand_in = 10**14  # a number as long as the addresses take, in none of them
    values[number] = stand_in
    before, after = url_for(endpoint, **values).split(str(stand_in), 1)
    return lambda of: f"{before}{of}{after}"


def install(app: Flask) -> None:
    @app.context_processor
    def names() -> dict[str, Any]:
        return {
            "person": identity.person,
            "in_use": in_use,
            "NOTICE": NOTICE,
            "PHANTOM": PHANTOM,
        }

    @app.url_defaults
    def versioned(endpoint: str, values: dict[str, Any]) -> None:
        # A new release must not meet the old style sheet in a browser's cache.
        if endpoint == "static" and app.static_folder and "filename" in values:
            file = Path(app.static_folder) / values["filename"]
            if file.is_file():
                values["v"] = int(file.stat().st_mtime)
