"""Two model versions side by side, on the studies that both have scored; shown before a person activates one.

Of a large archive a fixed number of studies is looked at, in stretches spread evenly over it, so that a comparison of a
million studies takes as long as one of ten thousand. Flips and figures against verdicts follow indexes.
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

SAMPLE = 10_000
WALK = SAMPLE // 2  # from each end, so that of an archive no larger than the sample every flip is found
STRETCHES = 50
LISTED = 50
SOURCES = 12  # that have a line of their own
JOBS_ASKED = 500  # the latest, for the names of sources
Z95 = 1.959964

one, two = aliased(StudyResult), aliased(StudyResult)


@dataclass(frozen=True)
class Pair:
    """A study under both versions; `subclass` and `name` are the first version's and the image's."""

    study: int
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
    was, now = (first.id, limits[0]), (second.id, limits[1])
    lists = {
        "newly_flagged": _lines(_flips(session, now, was, _highest(newly)), newly=True),
        "no_longer_flagged": _lines(_flips(session, was, now, _highest(gone)), newly=False),
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
        select(one.study_id, one.score, two.score, one.label == two.label, one.subclass, Image.name)
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


def _highest(pairs: list[Pair]) -> list[int]:
    return [pair.study for pair in sorted(pairs, key=lambda pair: -max(pair.before, pair.after))[:LISTED]]


def _about() -> ColumnElement[int]:
    """How many studies there are, counted no further than the sample reaches."""
    some = select(Study.id).limit(SAMPLE + 1).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _flips(
    session: Session, by: tuple[int, float], not_by: tuple[int, float], seen: Sequence[int]
) -> list[dict[str, Any]]:
    """Studies that one version flags and the other does not, the highest scores of the first first.

    `by` and `not_by` are version and threshold. In a large archive few of those that both flag can be passed over, so
    the walk has two ends: the highest scores, and those just over the threshold, where most flips are; `seen` are the
    studies of the sample that flipped.
    """
    mine, theirs = aliased(StudyResult), aliased(StudyResult)
    flagged = select(mine).where(mine.model_version_id == by[0], mine.score >= by[1])
    walks = (
        flagged.order_by(mine.score.desc()).limit(WALK),
        flagged.order_by(mine.score).limit(WALK),
        flagged.where(mine.study_id.in_(seen)),
    )
    found: dict[int, Any] = {}
    for walk in walks:
        near = aliased(StudyResult, walk.subquery())
        query = (
            select(near, theirs, Study.label)
            .join(theirs, and_(theirs.study_id == near.study_id, theirs.model_version_id == not_by[0]))
            .join(Study, Study.id == near.study_id)
            .where(theirs.score < not_by[1])
            .order_by(near.score.desc(), near.study_id)
            .limit(LISTED)
        )
        found |= {row[0].study_id: row for row in session.execute(query)}
    return [
        {"study": study, "label": label, "mine": mine, "theirs": theirs}
        for study, (mine, theirs, label) in sorted(found.items(), key=lambda item: (-item[1][0].score, item[0]))
    ][:LISTED]


def _lines(flips: list[dict[str, Any]], *, newly: bool) -> list[dict[str, Any]]:
    """Flips as lines of a list, the scores in the order of the versions."""
    lines = []
    for flip in flips:
        before, after = (flip["theirs"], flip["mine"]) if newly else (flip["mine"], flip["theirs"])
        lines.append(
            {
                "study": flip["study"],
                "label": flip["label"],
                "image": after.image_id,
                "before": before.score,
                "after": after.score,
                "subclass": after.subclass,
                "scored_at": after.updated_at.isoformat(),
                "verdict": after.verdict.value if after.verdict else None,
            }
        )
    return lines


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
