"""Operating points: what a threshold would mean for the work and for the cases, and setting one.

Sensitivity and specificity are of reviewed studies alone. Readers mostly read what is flagged, so what was missed is
hardly among them: the sensitivity told here is an upper bound unless unflagged studies are read, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cxrscreen import audit, registry, scores
from cxrscreen.compare import wilson
from cxrscreen.errors import Conflict, UsageError
from cxrscreen.scores import Tally
from cxrscreen.tables import ModelVersion, OperatingPoint, User, Verdict


@dataclass(frozen=True)
class Scores:
    """All that a threshold is weighed by: every study of the version, those of the last nights, and how many nights."""

    all: Tally
    lately: Tally
    nights: int


def weighed(session: Session, version_id: int, *thresholds: float) -> Scores:
    """Count what `figures` needs for these thresholds, and for any of three decimals."""
    return Scores(
        all=scores.tally(session, version_id, *thresholds),
        lately=scores.tally(session, version_id, *thresholds, since=scores.lately()),
        nights=len(scores.nights(session, version_id, 0.0)),
    )


def figures(told: Scores, threshold: float) -> dict[str, Any]:
    """What a threshold means: the work, and the rates among reviewed studies with their intervals (Wilson)."""
    return {
        "studies": told.all.studies,
        "flagged": told.all.flagged(threshold),
        "open": told.all.over(threshold, None),
        "nights": told.nights,
        "per_night": told.lately.flagged(threshold) / told.nights if told.nights else None,
        **rates(told.all, threshold),
    }


def rates(told: Tally, threshold: float) -> dict[str, Any]:
    """Sensitivity, specificity and the share of confirmed ones among the flagged, of studies confirmed or dismissed."""
    ill, well = told.of(Verdict.CONFIRMED), told.of(Verdict.DISMISSED)
    found, wrong = (told.over(threshold, said) for said in (Verdict.CONFIRMED, Verdict.DISMISSED))
    return {
        "threshold": threshold,
        "sensitivity": wilson(found, ill),
        "specificity": wilson(well - wrong, well),
        "ppv": wilson(found, found + wrong),
    }


def read_below(told: Tally, threshold: float) -> int:
    """How many studies under the threshold were confirmed or dismissed: all that speaks of what it misses."""
    decided = (Verdict.CONFIRMED, Verdict.DISMISSED)
    return sum(told.of(said) - told.over(threshold, said) for said in decided)


def newest(session: Session, version_id: int) -> OperatingPoint | None:
    """The operating point that counts."""
    return session.scalar(
        select(OperatingPoint)
        .where(OperatingPoint.model_version_id == version_id)
        .order_by(OperatingPoint.id.desc())
        .limit(1)
    )


def history(session: Session, version_id: int, limit: int = 50) -> list[tuple[OperatingPoint, str | None]]:
    """The version's operating points and who set each, the newest first."""
    rows = session.execute(
        select(OperatingPoint, User.name)
        .outerjoin(User, User.id == OperatingPoint.set_by)
        .where(OperatingPoint.model_version_id == version_id)
        .order_by(OperatingPoint.id.desc())
        .limit(limit)
    )
    return [(point, name) for point, name in rows]


def sign(
    session: Session, version: ModelVersion, threshold: float, user: User, sign_off: str, seen: int | None
) -> OperatingPoint:
    """Set the threshold that counts from now on; `seen` is the operating point that the person had before them.

    What the threshold would mean is kept beside it, as it was at that moment. Raises UsageError without words or where
    nothing would change, and Conflict where somebody else set another one meanwhile; nothing is written then.
    """
    if not sign_off.strip():
        raise UsageError("Sign for it first: say in a few words what you looked at and why this threshold may be used.")
    # Two signatures at once: the second waits for the version's row and then sees the first. Not for its key, which
    # every result that is written meanwhile shares: what the threshold would mean takes its time to count.
    session.execute(select(ModelVersion.id).where(ModelVersion.id == version.id).with_for_update(key_share=True))
    before = newest(session, version.id)
    if (before.id if before else None) != seen:
        raise Conflict("Somebody else moved this threshold while you weighed it. Look at the new one first.")
    if before and before.threshold == threshold:
        raise UsageError(f"The threshold is {threshold:g} already.")
    point = OperatingPoint(
        model_version_id=version.id,
        threshold=threshold,
        set_by=user.id,
        note=sign_off.strip(),
        figures=figures(weighed(session, version.id, threshold), threshold),
    )
    session.add(point)
    session.flush()
    audit.record(
        session,
        user,
        "model.threshold",
        f"model {version.id}",
        threshold=threshold,
        before=registry.threshold(session, version.id) if before is None else before.threshold,
        sign_off=sign_off.strip(),
    )
    return point
