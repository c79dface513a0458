"""Drift: a night's scores, subclasses and distances of a version beside those it began with.

The measure is the population stability index, PSI = sum (p - q) ln(p / q) over the bins. Its usual bands (0.1 and 0.25)
suppose large samples: between two samples of one population of n and m it is near chi-square / (1/n + 1/m) by chance
(Yurdakul and Naranjo, Journal of Risk Model Validation 14(4), 2020), so an alert needs more than that, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, db
from cxrscreen.tables import Alert, Band, Drift, ModelVersion, Result, User, now

REFERENCE = 2000  # results that a version is held against: its first
MOST = 20_000  # results of a night that are looked at: the latest
LEAST = 50
BINS = 10
WATCH, ALERT = 0.1, 0.25
# The 99.9 % point of chi-square by degrees of freedom (Wilson and Hilferty's approximation is good to a percent here).
NORMAL_999 = 3.0902
HALF = 0.5  # added to each count: an empty bin is no proof that nothing ever falls into it


@dataclass(frozen=True)
class Row:
    """Of a result, what its drift is measured by."""

    id: int
    score: float
    subclass: str
    distance: float | None


def measure(version_id: int, job_id: int | None) -> Drift | None:
    """Measure what a version answered since its last measurement, or since its reference; None where nothing is new.

    The first measurement takes the reference: up to REFERENCE results that there are then, and LEAST at least.
    """
    with db.write() as session:
        version = session.get_one(ModelVersion, version_id)
        mine = Drift.model_version_id == version_id
        taken = session.scalar(select(Drift).where(mine).order_by(Drift.id).limit(1))
        size = sum(taken.figures["scores"]["reference"]) if taken else REFERENCE
        first = _rows(session, version_id, newest=False, after=0, limit=size)
        if len(first) < LEAST:
            return None
        last = session.scalar(select(func.max(Drift.last_result_id)).where(mine)) or 0
        fresh = _rows(session, version_id, newest=True, after=max(last, first[-1].id), limit=MOST)
        if not fresh and last >= first[-1].id:
            return None
        figures = compared(first, fresh)
        band = _band(figures, len(fresh))
        drift = Drift(
            model_version_id=version_id,
            job_id=job_id,
            last_result_id=max(row.id for row in fresh or first),
            results=len(fresh),
            figures=figures,
            reference=f"the first {len(first)} results of {version.name}",
            band=band,
        )
        session.add(drift)
        session.flush()
        if band == Band.ALERT:
            out = [f"{name} (PSI {told['psi']:.2f})" for name, told in figures.items() if told["psi"] > told["limit"]]
            said = f"{version.name}: {', '.join(out)} left the band, held against {drift.reference}."
            session.add(Alert(drift_id=drift.id, model_version_id=version_id, said=said))
        return drift


def compared(first: Sequence[Row], fresh: Sequence[Row]) -> dict[str, Any]:
    """For scores, subclasses and distances: the bins, the counts of both, PSI and the limit for an alert."""
    names = sorted({row.subclass for row in (*first, *fresh)})
    far = sorted(row.distance for row in first if row.distance is not None)
    told = {
        "scores": _held(
            [f"{start / BINS:.1f} to {(start + 1) / BINS:.1f}" for start in range(BINS)],
            [min(int(row.score * BINS), BINS - 1) for row in first],
            [min(int(row.score * BINS), BINS - 1) for row in fresh],
        ),
        "subclasses": _held(
            names,
            [names.index(row.subclass) for row in first],
            [names.index(row.subclass) for row in fresh],
        ),
    }
    if len(far) >= LEAST:
        edges = [far[len(far) * tenth // BINS] for tenth in range(1, BINS)]
        told["distances"] = _held(
            [f"up to {edge:.2f}" for edge in edges] + [f"over {edges[-1]:.2f}"],
            [_place(row.distance, edges) for row in first if row.distance is not None],
            [_place(row.distance, edges) for row in fresh if row.distance is not None],
        )
    return told


def psi(before: Sequence[int], after: Sequence[int]) -> float:
    """The population stability index between two histograms of counts."""
    share_before = [(count + HALF) / (sum(before) + HALF * len(before)) for count in before]
    share_after = [(count + HALF) / (sum(after) + HALF * len(after)) for count in after]
    return sum((q - p) * math.log(q / p) for p, q in zip(share_before, share_after, strict=True))


def by_chance(bins: int, before: int, after: int) -> float:
    """The PSI that two samples of one population exceed once in a thousand times."""
    freedom = bins - 1
    if freedom < 1 or not before or not after:
        return 0.0
    point = freedom * (1 - 2 / (9 * freedom) + NORMAL_999 * math.sqrt(2 / (9 * freedom))) ** 3
    return point * (1 / before + 1 / after)


def history(session: Session, version_id: int, limit: int = 60) -> list[Drift]:
    """The latest measurements of a version, the newest first."""
    return list(
        session.scalars(
            select(Drift).where(Drift.model_version_id == version_id).order_by(Drift.id.desc()).limit(limit)
        )
    )


def alerts(session: Session, limit: int = 20) -> list[Alert]:
    """What nobody has seen yet, the newest first."""
    return list(session.scalars(select(Alert).where(Alert.seen_at.is_(None)).order_by(Alert.id.desc()).limit(limit)))


def see(session: Session, alert: Alert, user: User) -> None:
    """Somebody has looked at an alert; the first who did counts."""
    unseen = update(Alert).where(Alert.id == alert.id, Alert.seen_at.is_(None)).returning(Alert.id)
    if session.scalar(unseen.values(seen_at=now(), seen_by=user.name)) is not None:
        audit.record(session, user, "alert.seen", f"alert {alert.id}")


def _held(bins: list[str], first: list[int], fresh: list[int]) -> dict[str, Any]:
    before = [first.count(place) for place in range(len(bins))]
    after = [fresh.count(place) for place in range(len(bins))]
    return {
        "bins": bins,
        "reference": before,
        "now": after,
        "psi": round(psi(before, after), 4) if fresh else 0.0,
        "limit": round(max(ALERT, by_chance(len(bins), len(first), len(fresh))), 4),
        "watch": round(max(WATCH, by_chance(len(bins), len(first), len(fresh))), 4),
    }


def _band(figures: dict[str, Any], fresh: int) -> Band:
    if fresh < LEAST:
        return Band.GATHERING
    if any(told["psi"] > told["limit"] for told in figures.values()):
        return Band.ALERT
    if any(told["psi"] > told["watch"] for told in figures.values()):
        return Band.WATCH
    return Band.STEADY


def _place(distance: float, edges: list[float]) -> int:
    return sum(distance > edge for edge in edges)


def _rows(session: Session, version_id: int, *, newest: bool, after: int, limit: int) -> list[Row]:
    query = (
        select(Result.id, Result.score, Result.subclass, Result.distance)
        .where(Result.model_version_id == version_id, Result.id > after)
        .order_by(Result.id.desc() if newest else Result.id)
        .limit(limit)
    )
    return [Row(*row) for row in session.execute(query)]
