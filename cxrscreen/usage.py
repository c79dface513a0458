"""What takes the room: the store by kind, the database, uploads on their way. Bytes, as near as a look can tell."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cxrscreen.blobs import SHELVES, Blobs
from cxrscreen.settings import get_settings

KINDS = ("originals", "derivatives", "uploads", "models")
SECONDS = 0.1  # a kind of the store is looked at for no longer


@dataclass(frozen=True)
class Part:
    what: str  # one of KINDS, "database" or "unfinished"
    size: int  # bytes
    about: bool = False  # reckoned from some of the shelves


def parts(session: Session, store: Blobs, seconds: float = SECONDS) -> list[Part]:
    """Each part of the whole; of a store that is no disk of this machine its service tells."""
    found = [_of_kind(store, kind, seconds) for kind in KINDS] if store.local else []
    return [*found, Part("unfinished", _below(get_settings().upload_dir)), Part("database", database_size(session))]


def database_size(session: Session) -> int:
    url = session.get_bind().engine.url
    if url.get_backend_name() == "postgresql":
        return int(session.scalar(select(func.pg_database_size(func.current_database()))) or 0)
    files = [Path(f"{url.database}{ending}") for ending in ("", "-wal", "-shm")]
    return sum(file.stat().st_size for file in files if file.exists())


def _of_kind(store: Blobs, kind: str, seconds: float) -> Part:
    """Names are hashes, so shelves hold much the same: where there is no time for all, some tell of the rest."""
    until = time.monotonic() + seconds
    size = seen = 0
    for shelf in random.sample(SHELVES, len(SHELVES)):
        size += store.weight(kind, shelf)
        seen += 1
        if time.monotonic() > until:
            break
    return Part(kind, size * len(SHELVES) // seen, about=seen < len(SHELVES))


def _below(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += (Path(place) / name).stat().st_size
            except FileNotFoundError:  # it became whole, or was given up
                continue
    return size
