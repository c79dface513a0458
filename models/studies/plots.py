"""A study's picture: points with their intervals, one panel a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.studies.table import COMPARED, TITLES

INK, BLUE, ORANGE = "#222222", "#2563a8", "#c4571b"
DPI = 110


def draw_lines(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Groups below one another, a panel for each compared figure."""
    rows = [(line["group"], {name: line[name] for name in COMPARED}) for line in table]
    _forest(rows, path, None)


def draw_differences(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Differences below one another, around no difference."""
    rows = [(f"{one['first']} less {one['second']}", {name: one[name] for name in COMPARED}) for one in found]
    _forest(rows, path, 0.0)


def draw_curve(table: Sequence[dict[str, Any]], path: Path, axis: str) -> None:
    """Figures over the place on the curve, decomposed and whole."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(3.6 * len(COMPARED), 3.2), layout="constrained")
    for panel, name in zip(figure.subplots(1, len(COMPARED)), COMPARED, strict=True):
        for colour, whole in ((ORANGE, True), (BLUE, False)):
            own = [one for one in table if (one["wanted_k"] == 1) == whole and one[name]["value"] is not None]
            own.sort(key=lambda one: one["place"])
            if own:
                label = "k = 1" if whole else f"k = {own[0]['wanted_k']}"
                values = [one[name]["value"] for one in own]
                places = [one["place"] * (0.98 if whole else 1.02) for one in own]
                panel.errorbar(places, values, _arms([one[name] for one in own]), fmt="o-", ms=4, lw=1.2, capsize=2,
                               color=colour, label=label)  # fmt: skip
        panel.set_xscale("log")
        ticks = sorted({one["place"] for one in table})
        panel.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        panel.minorticks_off()
        panel.set_xlabel(axis)
        panel.set_title(TITLES[name], fontsize=10)
        panel.grid(axis="y", alpha=0.3)
    panel.legend(fontsize=8)
    figure.savefig(path, dpi=DPI)


def _forest(rows: Sequence[tuple[str, dict[str, Any]]], path: Path, zero: float | None) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 1.1 + 0.32 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(COMPARED), sharey=True)
    for panel, name in zip(panels, COMPARED, strict=True):
        for place, (_, figures) in enumerate(rows):
            if figures[name]["value"] is not None:
                panel.errorbar(figures[name]["value"], place, xerr=_arms([figures[name]]), fmt="o", ms=4, color=BLUE,
                               capsize=2, lw=1.2)  # fmt: skip
        if zero is not None:
            panel.axvline(zero, color=INK, lw=0.8)
        panel.set_title(TITLES[name], fontsize=10)
        panel.set_yticks(range(len(rows)), [label for label, _ in rows])
        panel.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=DPI)


def _arms(figures: Sequence[dict[str, Any]]) -> list[list[float]]:
    """How far each interval reaches to both sides; the value of all rows need not lie inside the resamples' share."""
    low = [max(0.0, one["value"] - (one["ci95"][0] or one["value"])) for one in figures]
    high = [max(0.0, (one["ci95"][1] or one["value"]) - one["value"]) for one in figures]
    return [low, high]
