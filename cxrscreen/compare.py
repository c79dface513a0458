"""Two model versions side by side, on the studies that both have scored; shown before a person activates one.

Of a large archive a fixed number of studies is looked at, in stretches spread evenly over it, so that a comparison of a
million studies takes as long as one of twenty thousand. Flips and figures against verdicts follow indexes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session, aliased

from cxrscreen import registry
from cxrscreen.tables import Image, Job, JobKind, ModelVersion, Study, StudyResult, Verdict

SAMPLE = 20_000
STRETCHES = 50
LISTED = 50
SOURCES = 12  # that have a line of their own
JOBS_ASKED = 500  # the latest, for the names of sources
Z95 = 1.959964

one, two = aliased(StudyResult), aliased(StudyResult)


@dataclass(frozen=True)
class Pair:
    """A study under both versions; `subclass` and `name` are the first version's and the image's."""

    before: float
    after: float
    same_label: bool
    subclass: str
    name: str


def versions(session: Session, first: ModelVersion, second: ModelVersion) -> dict[str, Any]:
    """Agreement, flips, shifts and figures against verdicts; each version is read at its own operating point."""
    limits = registry.threshold(session, first.id), registry.threshold(session, second.id)
    both = and_(one.study_id == two.study_id, one.model_version_id == first.id, two.model_version_id == second.id)
    pairs, whole = _sample(session, both)
    newly = [pair for pair in pairs if pair.before < limits[0] and pair.after >= limits[1]]
    gone = [pair for pair in pairs if pair.before >= limits[0] and pair.after < limits[1]]
    shifts = [pair.after - pair.before for pair in pairs]
    labels = _labels(session)
    lists = {
        "newly_flagged": _flips(session, both, and_(one.score < limits[0], two.score >= limits[1]), two.score),
        "no_longer_flagged": _flips(session, both, and_(one.score >= limits[0], two.score < limits[1]), one.score),
    }
    return {
        "first": {"name": first.name, "threshold": limits[0]},
        "second": {"name": second.name, "threshold": limits[1]},
        "studies": len(pairs),
        "sampled": not whole,
        "same_label": sum(pair.same_label for pair in pairs),
        "same_flag": len(pairs) - len(newly) - len(gone),
        "newly_flagged": len(newly),
        "no_longer_flagged": len(gone),
        "mean_score_shift": sum(shifts) / len(shifts) if shifts else None,
        "by_subclass": shift_by((pair.subclass, pair.after - pair.before) for pair in pairs),
        "by_source": shift_by((source(pair.name, labels), pair.after - pair.before) for pair in pairs),
        "reviewed": _reviewed(session, both, limits),
        "newly_flagged_studies": [line["study"] for line in lists["newly_flagged"]],
        "no_longer_flagged_studies": [line["study"] for line in lists["no_longer_flagged"]],
        "flips": lists,
    }


def shift_by(shifts: Iterable[tuple[str, float]]) -> list[dict[str, Any]]:
    """The mean shift of each group with its 95 % interval, the largest groups first; small ones of many together."""
    groups: dict[str, list[float]] = defaultdict(list)
    for name, shift in shifts:
        groups[name].append(shift)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    rest = [shift for _, held in ordered[SOURCES:] for shift in held]
    told = [_mean(name, held) for name, held in ordered[:SOURCES]]
    return told + ([_mean(f"{len(ordered) - SOURCES} others", rest)] if rest else [])


def source(name: str, labels: set[str]) -> str:
    """Where an image came from: the source of a job that its name begins with, else its first folder or archive."""
    places = [place for place, letter in enumerate(name) if letter == "/"]
    for place in places:
        if name[:place] in labels:
            return name[:place]
    return name[: places[0]] if places and places[0] else "single files"


def wilson(hits: int, of: int) -> dict[str, Any]:
    """A share with its 95 % interval (Wilson, JASA 22, 1927); no value where there is nothing to share."""
    if not of:
        return {"value": None, "ci95": [None, None], "hits": 0, "of": 0}
    share, spread = hits / of, Z95 * Z95 / of
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / of + spread / of / 4) / (1 + spread)
    return {"value": share, "ci95": [max(0.0, middle - half), min(1.0, middle + half)], "hits": hits, "of": of}


def _sample(session: Session, both: ColumnElement[bool]) -> tuple[list[Pair], bool]:
    lowest, highest, count = session.execute(select(func.min(Study.id), func.max(Study.id), _about())).one()
    query = (
        select(one.score, two.score, one.label == two.label, one.subclass, Image.name)
        .select_from(one)
        .join(two, both)
        .join(Image, Image.id == one.image_id)
        .order_by(one.study_id)
    )
    if count <= SAMPLE:
        return [Pair(*row) for row in session.execute(query)], True
    step = (highest - lowest) // STRETCHES + 1
    pairs: list[Pair] = []
    for start in range(lowest, highest + 1, step):
        stretch = query.where(one.study_id >= start, one.study_id < start + step).limit(SAMPLE // STRETCHES)
        pairs += [Pair(*row) for row in session.execute(stretch)]
    return pairs, False


def _about() -> ColumnElement[int]:
    """How many studies there are, counted no further than the sample reaches."""
    some = select(Study.id).limit(SAMPLE + 1).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _flips(
    session: Session, both: ColumnElement[bool], condition: ColumnElement[bool], order: Any
) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Study.id, Study.label, one.image_id, one.score, two.score, two.subclass, two.updated_at, two.verdict)
        .select_from(one)
        .join(two, both)
        .join(Study, Study.id == one.study_id)
        .where(condition)
        .order_by(order.desc(), one.study_id)
        .limit(LISTED)
    )
    return [
        {
            "study": row[0],
            "label": row[1],
            "image": row[2],
            "before": row[3],
            "after": row[4],
            "subclass": row[5],
            "scored_at": row[6].isoformat(),
            "verdict": row[7].value if row[7] else None,
        }
        for row in rows
    ]


def _reviewed(session: Session, both: ColumnElement[bool], limits: tuple[float, float]) -> dict[str, Any]:
    """Sensitivity and specificity of both on the common studies that readers confirmed or dismissed."""

    def flagged(score: Any, limit: float) -> Any:
        return case((score >= limit, 1), else_=0)

    rows = session.execute(
        select(
            two.verdict, func.count(), func.sum(flagged(one.score, limits[0])), func.sum(flagged(two.score, limits[1]))
        )
        .select_from(two)
        .join(one, both)
        .where(two.verdict.in_((Verdict.CONFIRMED, Verdict.DISMISSED)))
        .group_by(two.verdict)
    )
    counts = {verdict: (number, int(before), int(after)) for verdict, number, before, after in rows}
    ill = counts.get(Verdict.CONFIRMED, (0, 0, 0))
    well = counts.get(Verdict.DISMISSED, (0, 0, 0))
    return {
        "confirmed": ill[0],
        "dismissed": well[0],
        **{
            name: {
                "sensitivity": wilson(ill[place], ill[0]),
                "specificity": wilson(well[0] - well[place], well[0]),
            }
            for name, place in (("first", 1), ("second", 2))
        },
    }


def _labels(session: Session) -> set[str]:
    """The names that people's jobs gave their sources."""
    asked = session.scalars(
        select(Job.sources)
        .where(Job.kind.in_((JobKind.UPLOAD, JobKind.FOLDER, JobKind.COMMAND)))
        .order_by(Job.id.desc())
        .limit(JOBS_ASKED)
    )
    return {str(told["label"]) for sources in asked for told in sources if told.get("label")}


def _mean(name: str, shifts: Sequence[float]) -> dict[str, Any]:
    number = len(shifts)
    mean = sum(shifts) / number
    spread = math.sqrt(sum((shift - mean) ** 2 for shift in shifts) / (number - 1)) if number > 1 else 0.0
    half = Z95 * spread / math.sqrt(number)
    return {"name": name, "studies": number, "mean": mean, "ci95": [mean - half, mean + half] if number > 1 else None}
