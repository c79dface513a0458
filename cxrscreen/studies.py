"""Studies: what their images' results say together, and people's verdicts."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, and_, bindparam, func, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, blind, db, registry
from cxrscreen.errors import Conflict, NotFound
from cxrscreen.settings import get_settings
from cxrscreen.tables import (
    Image,
    ModelVersion,
    Result,
    Review,
    Study,
    StudyResult,
    User,
    Verdict,
    Way,
    now,
)

if TYPE_CHECKING:
    from cxrscreen.imaging import Facts

# What a study's row says of who reads it; copied to its results.
OF_STUDY = ("assigned_id", "first_reader_id", "second_reader_id")


def pseudonym(identifier: str) -> str:
    """A keyed hash that stands for an identifier: the same everywhere the key is the same, and of no use without it."""
    if get_settings().keep_identifiers:
        return identifier[:80]
    key = get_settings().pseudonym_secret().encode()
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True)
class Origin:
    """What an image says of the study it belongs to."""

    facts: Facts
    sha256: str  # of its file
    name: str


def keep(session: Session, origins: Sequence[Origin]) -> list[int]:
    """The rows of the studies that images belong to, in their order; a picture without tags is a study of its own."""
    values = [_row(origin) for origin in origins]
    fresh = list({row["key"]: row for row in values}.values())
    if not fresh:
        return []
    # In the order of their keys: two ingests that bring the same studies must not wait for each other.
    fresh.sort(key=lambda row: str(row["key"]))
    insert = db.insert_for(session, Study).on_conflict_do_nothing(index_elements=["key"])
    ids: dict[str, int] = {}
    while wanted := [row for row in fresh if row["key"] not in ids]:  # once more for one that was just being deleted
        session.execute(insert, wanted)
        # Held as an image's row holds its study's: before any image is, as whoever deletes one does.
        held = select(Study.key, Study.id).where(Study.key.in_([row["key"] for row in wanted])).order_by(Study.id)
        found = session.execute(held.with_for_update(read=True, key_share=True))
        ids |= {row.key: row.id for row in found}
    return [ids[row["key"]] for row in values]


def _row(origin: Origin) -> dict[str, Any]:
    facts = origin.facts
    if not facts.study_uid:
        values = {"key": f"file:{origin.sha256}", "label": origin.name}
        return values | {"patient": None, "accession": None, "study_date": None, "created_at": now()}
    code = pseudonym(facts.study_uid)
    return {
        "key": f"uid:{code}"[:80],
        "label": f"Study {code[:64]}",
        "patient": pseudonym(facts.patient_id) if facts.patient_id else None,
        "accession": pseudonym(facts.accession) if facts.accession else None,
        # A date narrows a patient down (HIPAA safe harbour, 45 CFR 164.514), so it is kept only where names are.
        "study_date": facts.study_date if get_settings().keep_identifiers else None,
        "created_at": now(),
    }


def hold(session: Session, study_ids: Collection[int], *, read: bool = False) -> None:
    """Hold studies until the commit; not their keys, which whoever takes in more images of them shares (`read`)."""
    held = select(Study.id).where(Study.id.in_(set(study_ids))).order_by(Study.id)
    session.execute(held.with_for_update(read=read, key_share=True))


def hold_alone(session: Session, study_id: int) -> None:
    """Hold a study alone until the commit. Raises NotFound where there is none, or none any more."""
    if session.scalar(select(Study.id).where(Study.id == study_id).with_for_update()) is None:
        raise NotFound(f"There is no study {study_id}.")


def refresh(session: Session, study_ids: Sequence[int], model_version_id: int) -> None:
    """Make the study results of one version anew: the highest score of a study's images.

    Whoever writes results holds their studies first: of two batches with images of one study the second waits there,
    and then sees what the first wrote.
    """
    wanted = sorted(set(study_ids))
    rows = [dict(row) for row in session.execute(_best(), {"studies": wanted, "version": model_version_id}).mappings()]
    moment = now()
    threshold = registry.threshold(session, model_version_id) if rows else 0.0
    for row in rows:
        del row["place"]
        key, score = row.pop("key"), row["score"]
        row["draw"] = blind.draw(key, score, threshold)
        row["queue"] = blind.queue(key, score, threshold, row["draw"], read=row["verdict"] is not None)
        row["updated_at"] = moment
    if rows:
        insert = db.insert_for(session, StudyResult.__table__)
        fresh = {name: insert.excluded[name] for name in rows[0] if name not in ("study_id", "model_version_id")}
        session.execute(insert.on_conflict_do_update(index_elements=["study_id", "model_version_id"], set_=fresh), rows)


@lru_cache(maxsize=1)
def _best() -> Select[Any]:
    """The best result of each of some studies, put together once: that takes longer than the answer."""
    place = func.row_number().over(partition_by=Image.study_id, order_by=(Result.score.desc(), Image.id))
    scored = (
        select(
            Image.study_id,
            Result.model_version_id,
            Result.image_id,
            Result.label,
            Result.subclass,
            Result.score,
            func.count().over(partition_by=Image.study_id).label("images"),
            place.label("place"),
            # The worklist's copies; the lock above holds back whoever gives a verdict meanwhile.
            Review.verdict.label("verdict"),
            Review.user_id.label("reader_id"),
            *(getattr(Study, name) for name in OF_STUDY),
            func.coalesce(Study.study_date, "").label("study_date"),
            Study.key.label("key"),
        )
        .join(Image, Image.id == Result.image_id)
        .join(Study, Study.id == Image.study_id)
        .outerjoin(Review, and_(Review.study_id == Study.id, Review.superseded_at.is_(None)))
        .where(
            Image.study_id.in_(bindparam("studies", expanding=True)), Result.model_version_id == bindparam("version")
        )
        .subquery()
    )
    return select(scored).where(scored.c.place == 1)


def copy(session: Session, study: Study) -> None:
    """Bring the worklist's copies up to the study's row and its current verdict; the caller holds the study's lock."""
    session.flush()
    current = current_review(session, study.id)
    rows = session.scalars(select(StudyResult).where(StudyResult.study_id == study.id)).all()
    # Asked before any row is changed: a question in between would send each change by itself.
    limits = (
        registry.thresholds(session, [row.model_version_id for row in rows]) if any(row.draw for row in rows) else {}
    )
    for row in rows:
        row.verdict, row.reader_id = (current.verdict, current.user_id) if current else (None, None)
        for name in OF_STUDY:
            setattr(row, name, getattr(study, name))
        limit = limits[row.model_version_id] if row.draw else 0.0
        row.queue = blind.queue(study.key, row.score, limit, row.draw, read=current is not None)
    session.flush()


def get(session: Session, study_id: int) -> Study:
    study = session.get(Study, study_id)
    if study is None:
        raise NotFound(f"There is no study {study_id}.")
    return study


def image(session: Session, image_id: int) -> Image:
    found = session.get(Image, image_id)
    if found is None:
        raise NotFound(f"There is no image {image_id}.")
    return found


def result(session: Session, image_id: int, model_version_id: int) -> Result | None:
    return session.scalar(
        select(Result).where(Result.image_id == image_id, Result.model_version_id == model_version_id)
    )


def keep_heat(session: Session, result_id: int, made: bytes | None) -> None:
    """Keep a map that was made later, or an empty one where the model makes none; one that is there stays."""
    missing = and_(Result.id == result_id, Result.heat.is_(None))
    session.execute(update(Result).where(missing).values(heat=made or b""))


def answers(session: Session, study_id: int) -> list[tuple[StudyResult, ModelVersion]]:
    """What every model version said of a study, the newest version first."""
    rows = session.execute(
        select(StudyResult, ModelVersion)
        .join(ModelVersion, ModelVersion.id == StudyResult.model_version_id)
        .where(StudyResult.study_id == study_id)
        .order_by(ModelVersion.id.desc())
    )
    return [(found, version) for found, version in rows]


def images(session: Session, study_id: int, model_version_id: int | None) -> list[tuple[Image, Result | None]]:
    """The study's images, each with its result of one version where there is one."""
    rows = session.execute(
        select(Image, Result)
        .outerjoin(Result, and_(Result.image_id == Image.id, Result.model_version_id == model_version_id))
        .where(Image.study_id == study_id)
        .order_by(Image.id)
    )
    return [(image, result) for image, result in rows]


def others_of_patient(session: Session, study: Study, limit: int) -> list[Study]:
    """The patient's other studies, the newest first by their date, or by arrival where no date is kept."""
    if study.patient is None:
        return []
    return list(
        session.scalars(
            select(Study)
            .where(Study.patient == study.patient, Study.id != study.id)
            .order_by(func.coalesce(Study.study_date, "").desc(), Study.created_at.desc(), Study.id.desc())
            .limit(limit)
        )
    )


def review(
    session: Session,
    study: Study,
    user: User,
    verdict: Verdict,
    comment: str,
    model_version_id: int | None,
    seen: int | None,
    *,
    way: Way = Way.SINGLE,
    findings: Sequence[str] = (),
    seconds: float | None = None,
    hidden: bool = False,
) -> Review:
    """Write a verdict over the one the reader saw (`seen`, its id or None).

    Raises Conflict when somebody else gave a verdict in the meantime; nothing is overwritten then.
    """
    before = current_review(session, study.id, lock=True)
    if (before.id if before else None) != seen:
        raise Conflict("Somebody else gave a verdict on this study while you read it. Look at it again first.")
    if before:
        before.superseded_at = now()
    given = Review(
        study_id=study.id,
        user_id=user.id,
        model_version_id=model_version_id,
        verdict=verdict,
        comment=comment.strip(),
        way=way,
        findings=list(findings),
        seconds=seconds,
        blind=hidden,
        replaces_id=before.id if before else None,
    )
    session.add(given)
    copy(session, study)
    audit.record(session, user, "study.review", f"study {study.id}", verdict=verdict.value, way=way.value)
    return given


def current_review(session: Session, study_id: int, *, lock: bool = False) -> Review | None:
    if lock:
        hold_alone(
            session, study_id
        )  # two first verdicts at once have no row to lock yet: the study's stands in for it
    return session.scalar(select(Review).where(Review.study_id == study_id, Review.superseded_at.is_(None)))


def reviews(session: Session, study_id: int) -> list[tuple[Review, str]]:
    """Every verdict ever given on a study with its reader's name, newest first."""
    rows = session.execute(
        select(Review, User.name)
        .join(User, User.id == Review.user_id)
        .where(Review.study_id == study_id)
        .order_by(Review.id.desc())
    )
    return [(review, name) for review, name in rows]
