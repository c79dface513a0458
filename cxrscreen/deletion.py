"""Deleting a study: what goes with it, what stays, and what the audit log keeps of it.

Gone: the study, its images, results, readings and verdicts; its originals and derivatives, unless another study stands
on the same bytes; the uploaded archives it came in. What stays: the entries of the jobs that found it (with name, hash
and end, so that every account still adds up), and files of server folders, which are not ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, jobs, orphans, studies
from cxrscreen.errors import Conflict
from cxrscreen.settings import get_settings
from cxrscreen.tables import (
    Entry,
    EntryStatus,
    Image,
    Job,
    Rejection,
    Result,
    Review,
    Study,
    Upload,
    User,
    now,
)

MOST_HASHES = 1000  # that an audit event holds


@dataclass(frozen=True)
class Extent:
    """What goes with a study."""

    images: int
    results: int
    verdicts: int
    last_verdict: str  # empty where nobody gave one
    originals: list[str]  # SHA-256 of the files its images stand in
    derivatives: list[str]
    uploads: list[Upload]  # archives that it came in and that are still kept
    referred: int  # files of server folders, which stay where they are


def extent(session: Session, study: Study) -> Extent:
    images = session.scalars(select(Image).where(Image.study_id == study.id).order_by(Image.id)).all()
    mine = select(Image.id).where(Image.study_id == study.id)
    results = session.scalar(select(func.count()).select_from(Result).where(Result.image_id.in_(mine)))
    verdicts = session.scalar(select(func.count()).select_from(Review).where(Review.study_id == study.id))
    current = studies.current_review(session, study.id)
    return Extent(
        images=len(images),
        results=results or 0,
        verdicts=verdicts or 0,
        last_verdict=current.verdict.value if current else "",
        originals=sorted({image.sha256 for image in images}),
        derivatives=sorted({image.derivative for image in images}),
        uploads=_uploads(session, [image.id for image in images]),
        referred=len({image.sha256 for image in images if image.path is not None}),
    )


def delete_study(session: Session, study_id: int, actor: User | str, why: str = "") -> Extent:
    """Delete a study; its blobs are removed by a sweep that comes after the commit.

    Raises NotFound, and Conflict while a job still reads or screens it.
    """
    study = hold(session, study_id)
    mine = select(Image.id).where(Image.study_id == study.id).order_by(Image.id)
    images = list(session.scalars(mine.with_for_update()))
    _expect_rest(session, images)
    going = extent(session, study)
    session.execute(update(Rejection).where(Rejection.image_id.in_(images)).values(image_id=None))
    session.execute(delete(Study).where(Study.id == study.id).execution_options(synchronize_session=False))
    if going.uploads:
        same = Upload.sha256.in_([upload.sha256 for upload in going.uploads])
        kept = select(Upload.id).where(same, Upload.removed_at.is_(None)).order_by(Upload.id)
        ordered = kept.with_for_update(key_share=True)
        session.execute(update(Upload).where(Upload.id.in_(ordered)).values(removed_at=now()))
    # In the order of their kinds, in which they are pardoned.
    orphans.condemn(session, "derivatives", going.derivatives)
    orphans.condemn(session, "originals", going.originals)
    orphans.condemn(session, "uploads", [upload.sha256 for upload in going.uploads])
    audit.record(
        session,
        actor,
        "study.delete",
        f"study {study.id}",
        why=why,
        study=_keyed(study.key),
        patient=_keyed(study.patient) if study.patient else None,
        images=going.images,
        results=going.results,
        verdicts=going.verdicts,
        last_verdict=going.last_verdict,
        sha256=going.originals[:MOST_HASHES],
        uploads=[upload.sha256 for upload in going.uploads],
    )
    return going


def hold(session: Session, study_id: int) -> Study:
    """Hold a study until the commit: an ingest or a verdict that is on its way waits, and then finds it gone.

    Raises NotFound, also where somebody else has just deleted it.
    """
    study = studies.get(session, study_id)
    studies.hold_alone(session, study_id)
    return study


def _expect_rest(session: Session, images: Sequence[int]) -> None:
    """No job waits for one of these images, or still reads an upload that it came in.

    Their entries are held until the commit. Nobody is waited for here: whoever has one just now holds its job as well
    (tries it again, cancels it), whose turn comes before a study's.
    """
    shown = Entry.image_id.in_(images)
    held = set(session.scalars(select(Entry.id).where(shown).with_for_update(key_share=True, skip_locked=True)))
    rows = session.execute(select(Entry.id, Entry.job_id).where(shown).order_by(Entry.id))
    waits = next((row.job_id for row in rows if row.id not in held), None) or session.scalar(
        select(Entry.job_id)
        .join(Job, Job.id == Entry.job_id)
        .where(shown, Job.state.in_(jobs.OPEN))
        .where((Entry.status == EntryStatus.WAITING) | Job.listed.is_(False))
        .limit(1)
    )
    if waits is not None:
        raise Conflict(f"Job {waits} is still at work on this study: let it end or cancel it first.")


def _uploads(session: Session, images: Sequence[int]) -> list[Upload]:
    """Uploaded files that these images came in, directly or as a member, and that are still in the store."""
    rows = session.execute(
        select(Entry.name, Job).join(Job, Job.id == Entry.job_id).where(Entry.image_id.in_(images)).order_by(Entry.id)
    )
    wanted = set()
    for name, job in rows:
        for source in job.sources:
            label = str(source.get("label", ""))
            if "upload" in source and (name == label or name.startswith(f"{label}/")):
                wanted.add(int(source["upload"]))
    return list(
        session.scalars(select(Upload).where(Upload.id.in_(wanted), Upload.removed_at.is_(None)).order_by(Upload.id))
    )


def _keyed(identifier: str) -> str:
    """The pseudonym, also where identifiers are kept: the log outlives the study, and names nobody."""
    if not get_settings().keep_identifiers:
        return identifier
    key = get_settings().pseudonym_secret().encode()
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:16]
