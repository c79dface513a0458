"""How well a version's scores tell confirmed from dismissed studies: ROC and reliability, from counts alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cxrscreen.compare import Z95, wilson
from cxrscreen.scores import STEPS, Tally
from cxrscreen.tables import Verdict

BINS = 10


@dataclass(frozen=True)
class Roc:
    """`points` are (1 - specificity, sensitivity), from the highest threshold to the lowest: (0, 0) to (1, 1)."""

    points: list[tuple[float, float]]
    area: float
    ci95: tuple[float, float]
    confirmed: int
    dismissed: int


@dataclass(frozen=True)
class Bin:
    """Reviewed studies of one tenth of the scores: how many, their mean score, and the share that was confirmed."""

    low: float
    high: float
    studies: int
    mean: float | None
    share: dict[str, Any]  # as `compare.wilson` tells it


def roc(told: Tally) -> Roc | None:
    """The curve and the area under it with its 95 % interval (Hanley and McNeil, Radiology 143, 1982); equal scores
    count half. None until one study is confirmed and one dismissed."""
    ill, well = told.of(Verdict.CONFIRMED), told.of(Verdict.DISMISSED)
    if not ill or not well:
        return None
    points, area = [(0.0, 0.0)], 0.0
    found = wrong = 0
    for step in range(STEPS, -1, -1):
        hits, misses = (told.counts.get(said, {}).get(step, 0) for said in (Verdict.CONFIRMED, Verdict.DISMISSED))
        if not hits and not misses:
            continue
        area += misses * (found + hits / 2)
        found, wrong = found + hits, wrong + misses
        points.append((wrong / well, found / ill))
    area /= ill * well
    return Roc(points, area, _hanley(area, ill, well), ill, well)


def reliability(told: Tally) -> list[Bin]:
    """What share was confirmed at which score; a score is P(COVID-19), so both should be alike."""
    bins = []
    for place in range(BINS):
        low, high = place * STEPS // BINS, (place + 1) * STEPS // BINS
        last = place == BINS - 1
        inside = {
            said: {
                step: count
                for step, count in told.counts.get(said, {}).items()
                if low <= step < high or (last and step == STEPS)
            }
            for said in (Verdict.CONFIRMED, Verdict.DISMISSED)
        }
        studies = sum(count for steps in inside.values() for count in steps.values())
        # The middle of each step stands for the scores within it.
        total = sum(
            count * min(step + 0.5, STEPS) / STEPS for steps in inside.values() for step, count in steps.items()
        )
        confirmed = sum(inside[Verdict.CONFIRMED].values())
        mean = total / studies if studies else None
        bins.append(Bin(low / STEPS, high / STEPS, studies, mean, wilson(confirmed, studies)))
    return bins


def _hanley(area: float, ill: int, well: int) -> tuple[float, float]:
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (ill - 1) * (one - area * area) + (well - 1) * (two - area * area)
    half = Z95 * math.sqrt(max(spread, 0.0) / (ill * well))
    return max(0.0, area - half), min(1.0, area + half)
