"""The rows of files that were read: images, their frames' entries, and duplicates. All in one transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cxrscreen import db, entries, orphans, studies
from cxrscreen.tables import Entry, EntryStatus, Image, Result, now
from worker.leaves import Leaf, Place


def expect_known(session: Session, leaves: list[Leaf]) -> None:
    """What was known when the slice looked may be deleted by now; held, it stays until the commit."""
    ids = [image.id for leaf in leaves for image in leaf.known]
    if ids:
        # Whoever deletes a study holds it before its images.
        studies.hold(session, {image.study_id for leaf in leaves for image in leaf.known}, read=True)
        held = select(Image.id).where(Image.id.in_(ids)).order_by(Image.id)
        if len(session.scalars(held.with_for_update(read=True, key_share=True)).all()) < len(ids):
            raise orphans.BlobGone("A picture was deleted while it came in again.")


def accept(session: Session, place: Place, accepted: list[tuple[Leaf, Entry]]) -> list[int]:
    """Rows for the frames of accepted files; answers the entries that want a score."""
    images = _add_images(session, place, [leaf for leaf, _ in accepted])
    _take_over(session, [leaf for leaf, _ in accepted if leaf.known and place.path(leaf) is None])
    wanted = []
    for leaf, row in accepted:
        known = {image.frame: image.id for image in leaf.known}
        count = len(leaf.frames) or len(known)
        for index in range(count):
            entry = row
            if index:
                entry = Entry(job_id=row.job_id, name=row.name, frame=index, attempts=0, sha256=row.sha256)
                entry.status = EntryStatus.WAITING
                session.add(entry)
            entry.frames = count
            if leaf.frames and (refused := leaf.frames[index].refused):
                entries.reject(session, entry, refused.reason, refused.detail)
                continue
            assert leaf.sha256 is not None
            entry.image_id = images[leaf.sha256, index] if leaf.frames else known[index]
            wanted.append(entry)
    session.flush()
    return [entry.id for entry in wanted]


def _take_over(session: Session, leaves: list[Leaf]) -> None:
    """The bytes of these are in the store now; a folder file that they once stood for is no longer needed."""
    referred = [image.id for leaf in leaves for image in leaf.known if image.path is not None]
    if referred:
        # Two uploads may bring the same pictures at once, in another order.
        ordered = select(Image.id).where(Image.id.in_(referred)).order_by(Image.id).with_for_update(key_share=True)
        session.execute(update(Image).where(Image.id.in_(ordered)).values(path=None))


def _add_images(session: Session, place: Place, leaves: list[Leaf]) -> dict[tuple[str, int], int]:
    """Rows for the frames that were decoded, in a statement for all; answers their ids by (SHA-256, frame)."""
    fresh = [(leaf, frame) for leaf in leaves for frame in leaf.frames if frame.refused is None]
    if not fresh:
        return {}
    origins = []
    for leaf, frame in fresh:
        assert leaf.sha256 is not None and frame.facts is not None
        origins.append(studies.Origin(frame.facts, leaf.sha256, leaf.member.name))
    values: list[dict[str, Any]] = [
        {
            "study_id": study_id,
            "sha256": origin.sha256,
            "frame": frame.index,
            "frames": frame.count,
            "name": origin.name,
            "path": place.path(leaf),
            "derivative": leaf.derivatives[frame.index],
            "width": origin.facts.width,
            "height": origin.facts.height,
            "facts": origin.facts.public(),
            "created_at": now(),
        }
        for (leaf, frame), origin, study_id in zip(fresh, origins, studies.keep(session, origins), strict=True)
    ]
    # Two jobs may bring the same files at once; the later one takes the rows of the earlier.
    made = db.insert_for(session, Image.__table__).on_conflict_do_nothing(index_elements=["sha256", "frame"])
    named = (Image.sha256, Image.frame, Image.id)
    rows = session.execute(made.returning(*named), _in_one_order(session, values)).all()
    if len(rows) < len(values):
        rows = session.execute(select(*named).where(Image.sha256.in_([row["sha256"] for row in values]))).all()
    return {(row.sha256, row.frame): row.id for row in rows}


def _in_one_order(session: Session, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows by their bytes, as whoever brings the same files in another order inserts them, so that neither waits
    for the other in turn; their numbers are in the order of the walk, which is the order that people see."""
    if len(values) == 1 or (numbers := db.numbers(session, Image, len(values))) is None:
        return values
    numbered = [{**row, "id": number} for row, number in zip(values, numbers, strict=True)]
    return sorted(numbered, key=lambda row: (row["sha256"], row["frame"]))


def point_at_twins(session: Session, leaves: list[Leaf], rows: dict[int, Entry]) -> None:
    """A duplicate shows the image of the entry it repeats, once that one has one."""
    twins = {leaf.entry_id: leaf.twin for leaf in leaves if leaf.twin is not None and not leaf.refused}
    if not twins:
        return
    found = session.execute(select(Entry.id, Entry.image_id).where(Entry.id.in_(twins.values())))
    images = {row.id: row.image_id for row in found}
    for entry_id, twin in twins.items():
        rows[entry_id].image_id = images[twin]


def lead_twins(session: Session, job_id: int, leaves: list[Leaf], rows: dict[int, Entry]) -> None:
    """What had no image at the first try has one now; those that stood beside it then show it too."""
    for leaf in leaves:
        if (image_id := rows[leaf.entry_id].image_id) is not None:
            session.execute(
                update(Entry)
                .where(Entry.job_id == job_id, Entry.sha256 == leaf.sha256)
                .where(Entry.status == EntryStatus.DUPLICATE, Entry.image_id.is_(None))
                .values(image_id=image_id)
            )


def scored_before(session: Session, model_version_id: int | None, entry_ids: list[int]) -> set[int]:
    """Entries whose image this model version has scored in an earlier job: that result is used again."""
    done = select(Result.image_id).where(Result.model_version_id == model_version_id)
    return set(
        session.scalars(
            update(Entry)
            .where(Entry.id.in_(entry_ids), Entry.image_id.in_(done))
            .values(status=EntryStatus.SCORED)
            .returning(Entry.id)
        )
    )
