"""What the store holds, held against what the database names: missing, damaged, without a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import select

from cxrscreen import db, orphans, sources
from cxrscreen.blobs import SHELVES, Blobs
from cxrscreen.tables import Image


class Trouble(StrEnum):
    MISSING = "missing"  # a row names it, and it is not there
    DAMAGED = "damaged"  # its bytes are others than its name says
    ORPHAN = "orphan"  # no row names it; the sweep removes it after the grace time
    REMAINDER = "remainder"  # of a writer that was killed


@dataclass(frozen=True)
class Finding:
    trouble: Trouble
    kind: str
    name: str  # the SHA-256, or the name of a remainder

    @property
    def harmless(self) -> bool:
        """Nothing is lost: it is cleared away, or made again from its original when it is asked for."""
        return self.trouble in (Trouble.ORPHAN, Trouble.REMAINDER) or self.kind == "derivatives"


@dataclass
class Count:
    """What was looked at, by kind."""

    blobs: Counter[str] = field(default_factory=Counter)
    hashed: Counter[str] = field(default_factory=Counter)


def inspect(store: Blobs, count: Count, *, hashes: bool = True) -> Iterator[Finding]:
    """Look through the whole store, a shelf at a time; with `hashes` every named blob is read and hashed."""
    for shelf in SHELVES:
        for kind in orphans.NAMED:
            yield from _shelf(store, count, kind, shelf, hashes)
        yield from _referred(count, shelf)


def _shelf(store: Blobs, count: Count, kind: str, shelf: str, hashes: bool) -> Iterator[Finding]:
    found = set(store.names(kind, shelf))
    with db.read() as session:
        named = orphans.named(session, kind, shelf)
        if kind == "originals":
            on_shelf = Image.sha256.startswith(shelf)
            elsewhere = set(session.scalars(select(Image.sha256).where(on_shelf, Image.path.is_not(None))))
            wanted = named - elsewhere
        else:
            wanted = named
    count.blobs[kind] += len(found)
    for name in sorted(found | wanted):
        if name.startswith("."):
            yield Finding(Trouble.REMAINDER, kind, name)
        elif name not in found:
            yield Finding(Trouble.MISSING, kind, name)
        elif name not in named:
            yield Finding(Trouble.ORPHAN, kind, name)
        elif hashes:
            count.hashed[kind] += 1
            if store.digest(kind, name) != name:
                yield Finding(Trouble.DAMAGED, kind, name)


def _referred(count: Count, shelf: str) -> Iterator[Finding]:
    """Files that stayed in their folder; their bytes are compared whenever one is shown."""
    with db.read() as session:
        rows = session.execute(
            select(Image.sha256, Image.path).where(Image.sha256.startswith(shelf), Image.path.is_not(None)).distinct()
        ).all()
    count.blobs["referred"] += len(rows)
    for sha256, path in rows:
        if path is not None and not sources.is_there(path):
            yield Finding(Trouble.MISSING, "referred", sha256)
