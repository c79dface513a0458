"""The drawings of an evaluation, each for light and for dark pages. Nothing here computes a figure of the report.

Colours are those of Okabe and Ito, which the colour-blind can tell apart; every series also has a marker or a dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.metrics import Bootstrap

Array = npt.NDArray[Any]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C00")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GRID = np.linspace(0, 1, 201)
# A band needs fewer resamples than an interval whose ends are printed.
BAND = 300


@dataclass(frozen=True)
class Theme:
    name: str
    ground: str
    ink: str
    dim: str
    lift: bool  # dark blue is not seen on a dark page

    def colour(self, number: int) -> str:
        chosen = COLOURS[number % len(COLOURS)]
        return "#4FA8DC" if self.lift and chosen == "#0072B2" else chosen

    def style(self) -> Any:
        """Settings for matplotlib's `rc_context`, which wants them typed name by name."""
        return {
            "figure.facecolor": self.ground, "axes.facecolor": self.ground, "savefig.facecolor": self.ground,
            "text.color": self.ink, "axes.labelcolor": self.ink, "xtick.color": self.ink, "ytick.color": self.ink,
            "axes.edgecolor": self.dim, "grid.color": self.dim, "grid.alpha": 0.35, "grid.linewidth": 0.6,
            "axes.grid": True, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
            "font.size": 10, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
            "legend.frameon": False, "legend.fontsize": 8.5, "font.family": "DejaVu Sans",
        }  # fmt: skip


LIGHT = Theme("light", "#ffffff", "#1a2327", "#8a979e", False)
DARK = Theme("dark", "#171c20", "#dbe2e6", "#6d7b84", True)


def canvas(width: float = 5.4, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    return figure, figure.add_subplot()


def roc(
    theme: Theme, series: Mapping[str, tuple[Array, Array]], patient: Array, threshold: float, seed: int = 0
) -> Figure:
    """`series` are (sick, score) by name, the first one all pictures, with a band by patient and the threshold."""
    with mpl.rc_context(theme.style()):
        figure, axes = canvas()
        axes.plot([0, 1], [0, 1], color=theme.dim, lw=1, ls=":")
        for number, (name, (sick, score)) in enumerate(series.items()):
            x, y = _roc(sick, score, np.ones(len(sick)))
            axes.plot(x, y, color=theme.colour(number), ls=DASHES[number % 4], lw=2 if not number else 1.4, label=name)
            if not number:
                drawn = [_rates(sick, score, weight) for weight in Bootstrap(patient, BAND, seed).weights]
                low, high = np.nanpercentile(np.stack(drawn), [2.5, 97.5], axis=0)
                axes.fill_between(GRID, low, high, color=theme.colour(0), alpha=0.15, lw=0, label="95 % band")
                flagged = score >= threshold
                axes.plot(
                    flagged[~sick].mean() if (~sick).any() else 0, flagged[sick].mean() if sick.any() else 0,
                    "o", ms=9, mfc="none", mec=theme.ink, mew=1.8, label=f"the bundle's threshold {threshold:.3f}",
                )  # fmt: skip
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.set_title("ROC: covid against the rest")
        axes.legend(loc="lower right")
        return figure


def precision_recall(theme: Theme, sick: Array, score: Array, threshold: float) -> Figure:
    with mpl.rc_context(theme.style()):
        figure, axes = canvas()
        order = np.argsort(-score, kind="stable")
        hits = np.cumsum(sick[order])
        last = np.r_[score[order][1:] != score[order][:-1], True]  # equal scores are flagged together
        recall, precision = hits / max(1, sick.sum()), hits / np.arange(1, len(score) + 1)
        axes.step(np.r_[0, recall[last]], np.r_[precision[last][0], precision[last]], where="post",
                  color=theme.colour(0), lw=2)  # fmt: skip
        axes.axhline(sick.mean(), color=theme.dim, ls=":", lw=1.2)
        axes.annotate(f"share of covid here: {sick.mean():.2f}", (0.02, sick.mean()), xytext=(0, 4),
                      textcoords="offset points", fontsize=8.5, color=theme.ink)  # fmt: skip
        flagged = score >= threshold
        if flagged.any() and sick.any():
            axes.plot(flagged[sick].mean(), sick[flagged].mean(), "o", ms=9, mfc="none", mec=theme.ink, mew=1.8,
                      label=f"the bundle's threshold {threshold:.3f}")  # fmt: skip
            axes.legend(loc="lower left", bbox_to_anchor=(0, 0.08))
        axes.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", xlim=(-0.01, 1.01), ylim=(0, 1.03))
        axes.set_title("Precision and recall")
        return figure


def reliability(theme: Theme, confidence: Array, hits: Array, title: str, xlabel: str, bins: int = 10) -> Figure:
    """Observed share [bins] against the mean said, with Wilson's 95 % interval, and how many pictures stand behind."""
    with mpl.rc_context(theme.style()):
        figure = Figure(figsize=(5.4, 4.6), dpi=130, layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
        place = np.minimum((confidence * bins).astype(int), bins - 1)
        upper.plot([0, 1], [0, 1], color=theme.dim, lw=1, ls=":")
        for number in np.unique(place):
            own = place == number
            said, seen, n = confidence[own].mean(), hits[own].mean(), own.sum()
            low, high = _wilson(seen, n)
            upper.errorbar(said, seen, [[seen - low], [high - seen]], fmt="o", color=theme.colour(0), capsize=3, lw=1.4)
        lower.bar((np.arange(bins) + 0.5) / bins, np.bincount(place, minlength=bins), 0.9 / bins, color=theme.colour(4))
        upper.set(ylabel="observed share", ylim=(-0.03, 1.03))
        lower.set(xlabel=xlabel, ylabel="pictures", xlim=(-0.01, 1.01))
        upper.set_title(title)
        return figure


def confusion(theme: Theme, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    with mpl.rc_context(theme.style() | {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure, axes = canvas(4.8, 4.0)
        table = np.array(counts, dtype=float)
        shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        shade = mpl.colors.LinearSegmentedColormap.from_list("shade", [theme.ground, theme.colour(0)])
        axes.imshow(shares, cmap=shade, vmin=0, vmax=1.15, aspect="auto")
        for i, j in np.ndindex(*table.shape):
            axes.text(j, i - 0.08, f"{int(table[i, j])}", ha="center", va="center", fontsize=15, fontweight="bold")
            axes.text(j, i + 0.22, f"{shares[i, j]:.0%}", ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes)
        axes.tick_params(length=0)
        axes.set(xlabel="answered", ylabel="label")
        axes.set_title("Confusion (shares of each label)")
        return figure


def scores(theme: Theme, score: Array, label: Array, source: Array, classes: Sequence[str], threshold: float) -> Figure:
    """Every picture a point, a row for each class of each source."""
    with mpl.rc_context(theme.style()):
        rows = [(c, s) for c in classes for s in np.unique(source) if ((label == c) & (source == s)).any()]
        figure, axes = canvas(7.2, 0.9 + 0.55 * len(rows))
        names = sorted(np.unique(source))
        chance = np.random.default_rng(0)
        for place, (name, origin) in enumerate(rows):
            own = score[(label == name) & (source == origin)]
            which = names.index(origin)
            axes.plot(own, place + chance.uniform(-0.27, 0.27, len(own)), MARKERS[which % 8], ms=4, mew=0, alpha=0.6,
                      color=theme.colour(which))  # fmt: skip
            axes.plot([np.median(own)] * 2, [place - 0.36, place + 0.36], color=theme.ink, lw=2)
        axes.axvline(threshold, color=theme.ink, lw=1.2, ls="--")
        axes.set_yticks(range(len(rows)), [f"{c}, {s} ({((label == c) & (source == s)).sum()})" for c, s in rows])
        axes.set(xlabel="score, P(covid); bars are medians, the dashed line the threshold", xlim=(-0.01, 1.01),
                 ylim=(len(rows) - 0.4, -0.6))  # fmt: skip
        axes.set_title("Scores of each class and source")
        return figure


def forest(theme: Theme, groups: Sequence[tuple[str, Sequence[dict[str, Any]]]], names: Sequence[str],
           title: str, xlabel: str) -> Figure:  # fmt: skip
    """A row for each group, a point with its interval for each name; chance at 0.5; nulls leave a gap."""
    with mpl.rc_context(theme.style()):
        figure, axes = canvas(7.2, 1.3 + 0.62 * len(groups))
        step = 0.6 / max(1, len(names))
        for number, name in enumerate(names):
            for place, (_, figures) in enumerate(groups):
                if (value := figures[number]["value"]) is None:
                    continue
                low, high = figures[number]["ci95"]
                y = place + (number - (len(names) - 1) / 2) * step
                gap = [[0], [0]] if low is None else [[max(0, value - low)], [max(0, high - value)]]
                axes.errorbar(value, y, xerr=gap, fmt=MARKERS[number], color=theme.colour(number), capsize=3, lw=1.6,
                              ms=6, label=name if not place else None)  # fmt: skip
        axes.axvline(0.5, color=theme.dim, lw=1.2, ls=":")
        axes.set_yticks(range(len(groups)), [name for name, _ in groups])
        axes.set(xlabel=xlabel, xlim=(0, 1.02), ylim=(len(groups) - 0.45, -0.55))
        axes.set_title(title)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return figure


def _roc(sick: Array, score: Array, weight: Array) -> tuple[Array, Array]:
    order = np.argsort(-score, kind="stable")
    last = np.r_[score[order][1:] != score[order][:-1], True]
    up, down = np.cumsum(np.where(sick, weight, 0)[order])[last], np.cumsum(np.where(sick, 0, weight)[order])[last]
    return np.r_[0, down / max(down[-1], 1e-12)], np.r_[0, up / max(up[-1], 1e-12)]


def _rates(sick: Array, score: Array, weight: Array) -> Array:
    x, y = _roc(sick, score, weight)
    return np.asarray(np.interp(GRID, x, y)) if y[-1] > 0 and x[-1] > 0 else np.full(len(GRID), np.nan)


def _wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return min(float(middle - half), share), max(float(middle + half), share)
