"""Blobs that no row names: condemned first, removed later, pardoned by whoever commits a row that names them.

The reasons, and why no order of events loses a blob that a row names, are in docs/decisions/0020.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from cxrscreen import db
from cxrscreen.blobs import SHELVES, Blobs
from cxrscreen.settings import get_settings
from cxrscreen.tables import Condemned, Image, Upload

log = logging.getLogger(__name__)

MOST = 500  # blobs removed by one sweep
FEW, SUSPICIOUS_SHARE = 20, 0.2  # of a shelf
TAKEN_OVER = 10  # leases after which a removal that was begun is done by another sweep: the first one died
REMEMBERED = timedelta(days=1)  # how long it is known that a blob is gone; no slice of an ingest takes as long


class BlobGone(OSError):
    """A blob that was found in the store was removed before its row was committed: store it again."""


@dataclass(frozen=True)
class Naming:
    """What names the blobs of a kind: a column, and which of its rows count."""

    column: InstrumentedAttribute[str]
    counts: ColumnElement[bool] | None = None

    def of(self, wanted: ColumnElement[bool]) -> ColumnElement[bool]:
        return wanted if self.counts is None else and_(wanted, self.counts)


NAMED = {
    "originals": Naming(Image.sha256),
    "derivatives": Naming(Image.derivative),
    "uploads": Naming(Upload.sha256, Upload.removed_at.is_(None)),
}


def grace(kind: str) -> timedelta:
    """A blob without a row that is younger may be one whose row is about to be committed.

    The client of an upload may come back for its job for as long as an unfinished upload is kept.
    """
    hours = timedelta(hours=get_settings().orphan_hours)
    return max(hours, timedelta(days=get_settings().upload_days + 1)) if kind == "uploads" else hours


def pause() -> timedelta:
    """Between being condemned and being removed: longer than a transaction lives that looked before (a lease)."""
    return timedelta(seconds=get_settings().lease_seconds)


def condemn(session: Session, kind: str, hashes: Iterable[str]) -> None:
    """Let these blobs be removed as soon as nothing names them; what is condemned already stays as it is."""
    moment = db.clock(session)
    values = [{"kind": kind, "sha256": sha256, "found_at": moment} for sha256 in sorted(set(hashes))]
    if values:
        statement = db.insert_for(session, Condemned).on_conflict_do_update(
            index_elements=["kind", "sha256"],
            set_={"found_at": moment, "going_at": None, "gone_at": None},
            where=Condemned.gone_at.is_not(None),
        )
        session.execute(statement, values)


def pardon(session: Session, blobs: Iterable[tuple[str, str]], since: datetime) -> None:
    """Called by whoever is about to commit rows that name these (kind, SHA-256), stored or found since `since`.

    Raises BlobGone where one of them is being removed, or was after that moment.
    """
    by_kind: dict[str, set[str]] = {}
    for kind, sha256 in blobs:
        by_kind.setdefault(kind, set()).add(sha256)
    if not by_kind:
        return
    mine = or_(*(_these(kind, hashes) for kind, hashes in by_kind.items()))
    # Locked until the commit: a sweep that wants to remove one waits, and then finds it pardoned.
    ordered = select(Condemned).where(mine).order_by(Condemned.kind, Condemned.sha256).with_for_update()
    for row in session.scalars(ordered):
        if row.going_at is not None and (row.gone_at is None or row.gone_at >= since):
            raise BlobGone(f"{row.kind}/{row.sha256} was removed while it was stored again.")
        session.delete(row)
    session.flush()


def search(store: Blobs, kind: str, shelf: str, *, sure: bool = False) -> int:
    """Condemn what lies on a shelf without a row for longer than the grace time; answers how many were new.

    Remainders of killed writers, which no row can name, are removed at once when they are as old. Where so much has no
    row that the database is more likely to be wrong than the store, nothing is condemned unless a person is `sure`.
    """
    found = sorted(store.names(kind, shelf))
    whole = {name for name in found if not name.startswith(".")}
    with db.read() as session:
        moment = db.clock(session)
        known = named(session, kind, shelf)
        on_shelf = Condemned.sha256.startswith(shelf)
        waiting = set(
            session.scalars(
                select(Condemned.sha256).where(Condemned.kind == kind, on_shelf, Condemned.gone_at.is_(None))
            )
        )

    def old(name: str) -> bool:
        written = store.modified(kind, name)
        return written is not None and written <= moment - grace(kind)

    for name in found:
        if name.startswith(".") and old(name):
            store.delete(kind, name)
    fresh = [name for name in sorted(whole - known - waiting) if old(name)]
    if len(fresh) > max(FEW, SUSPICIOUS_SHARE * len(whole)) and not sure:
        log.warning(
            "%s of %s blobs under %s/%s have no row and stay: was the database restored from an older copy? "
            "`cxrscreen archive check --sweep` removes them",
            *(len(fresh), len(whole), kind, shelf),
        )
        return 0
    if fresh:
        with db.write() as session:
            condemn(session, kind, fresh)
    return len(fresh)


def remove(store: Blobs) -> int:
    """Remove condemned blobs whose pause is over and that still nothing names; answers how many."""
    with db.read() as session:
        moment = db.clock(session)
        due = session.execute(
            select(Condemned.kind, Condemned.sha256).where(_due(moment)).order_by(Condemned.found_at).limit(MOST)
        ).all()
    removed = 0
    for kind, sha256 in due:
        removed += _remove(store, kind, sha256)
    with db.write() as session:
        # What somebody stores again just now is pardoned by them.
        old = select(Condemned.kind, Condemned.sha256).where(Condemned.gone_at < moment - REMEMBERED)
        which = tuple_(Condemned.kind, Condemned.sha256).in_(old.with_for_update(skip_locked=True))
        session.execute(delete(Condemned).where(which).execution_options(synchronize_session=False))
    return removed


def _remove(store: Blobs, kind: str, sha256: str) -> bool:
    one = and_(Condemned.kind == kind, Condemned.sha256 == sha256)
    naming = NAMED[kind]
    is_named = exists().where(naming.of(naming.column == sha256))
    with db.write() as session:
        row = session.scalar(select(Condemned).where(one, _due(db.clock(session))).with_for_update())
        if row is None:
            return False  # pardoned, or another sweep is at it
        if session.scalar(select(is_named)) or _written_since(store, kind, row):
            session.delete(row)
            return False
        # Said before it is done: from here on nobody trusts a blob that is found under this name.
        row.going_at = db.clock(session)
    store.delete(kind, sha256)
    with db.write() as session:
        session.execute(update(Condemned).where(one).values(gone_at=db.clock(session)))
    log.info("Removed %s/%s, which nothing names", kind, sha256)
    return True


def _due(moment: datetime) -> ColumnElement[bool]:
    return and_(
        Condemned.gone_at.is_(None),
        Condemned.found_at <= moment - pause(),
        or_(Condemned.going_at.is_(None), Condemned.going_at <= moment - TAKEN_OVER * pause()),
    )


def _written_since(store: Blobs, kind: str, row: Condemned) -> bool:
    """An upload is written before its row, and always anew (`Blobs.put_file`): one that is young is on its way in."""
    if kind != "uploads" or row.going_at is not None:
        return False
    written = store.modified(kind, row.sha256)
    return written is not None and written > row.found_at


def named(session: Session, kind: str, shelf: str) -> set[str]:
    """The hashes on a shelf that a row names."""
    naming = NAMED[kind]
    after = f"{int(shelf, 16) + 1:02x}" if shelf != SHELVES[-1] else "g"
    within: Any = and_(naming.column >= shelf, naming.column < after)
    return set(session.scalars(select(naming.column).where(naming.of(within))))


def _these(kind: str, hashes: Sequence[str] | set[str]) -> ColumnElement[bool]:
    return and_(Condemned.kind == kind, Condemned.sha256.in_(sorted(hashes)))
