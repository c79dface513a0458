"""Features that networks saw of images, kept so that a new head on the same backbone reads no pixels.

Rows, not blobs: they are written in the transaction of the results they belong to, and end with their image
(docs/decisions/0021-features-are-kept.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from cxrscreen import db
from cxrscreen.settings import get_settings
from cxrscreen.tables import Feature, ModelState, ModelVersion

# Rows that one call of `forget` may take away.
MOST = 20_000


@dataclass(frozen=True)
class Seen:
    """What is to be kept of one image."""

    space: str
    numbers: bytes


def of(session: Session, space: str, image_ids: Sequence[int]) -> dict[int, bytes]:
    """The features of those images that have any in a space; they lie beside one another when their numbers do."""
    if not image_ids:
        return {}
    rows = session.execute(select(Feature.image_id, Feature.numbers).where(Feature.space == space, _near(image_ids)))
    wanted = set(image_ids)
    return {row.image_id: row.numbers for row in rows if row.image_id in wanted}


def keep(session: Session, seen: Iterable[tuple[int, Seen]]) -> None:
    """Write what was seen of images; what is there already was the same."""
    rows = [{"space": one.space, "image_id": image_id, "numbers": one.numbers} for image_id, one in seen if one.numbers]
    if rows and get_settings().keep_features:
        insert = db.insert_for(session, Feature.__table__)
        session.execute(insert.on_conflict_do_nothing(index_elements=["space", "image_id"]), rows)


def count(session: Session, space: str, image_ids: Collection[int]) -> int:
    """How many of those images have any in a space; a few more may be counted that lie between them."""
    if not image_ids:
        return 0
    held = select(func.count()).select_from(Feature).where(Feature.space == space, _near(image_ids))
    return min(len(image_ids), session.scalar(held) or 0)


def _near(image_ids: Collection[int]) -> ColumnElement[bool]:
    first, last = min(image_ids), max(image_ids)
    dense = last - first < 2 * len(image_ids)  # one stretch of the index, a few rows too many in it
    return Feature.image_id.between(first, last) if dense else Feature.image_id.in_(image_ids)


def spaces(session: Session) -> list[str]:
    """Every space there is, found by stepping through the index: there are few, and many rows."""
    found: list[str] = []
    while (
        after := session.scalar(select(func.min(Feature.space)).where(Feature.space > (found or [""])[-1]))
    ) is not None:
        found.append(after)
    return found


def forget(session: Session, limit: int = MOST) -> int:
    """Drop some features of spaces that no version in use lies in any more; answers how many."""
    used = {
        str(record.get("feature_space"))
        for record in session.scalars(select(ModelVersion.record).where(ModelVersion.state != ModelState.RETIRED))
    }
    for space in spaces(session):
        if space not in used:
            # Whoever deletes an image takes its own along: nobody waits for the other.
            ids = select(Feature.image_id).where(Feature.space == space).limit(limit).with_for_update(skip_locked=True)
            gone = delete(Feature).where(Feature.space == space, Feature.image_id.in_(ids)).returning(Feature.image_id)
            return len(session.scalars(gone).all())
    return 0
