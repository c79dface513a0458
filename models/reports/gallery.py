"""Drawings of the decomposition and of the audits' masks. They show pictures of people: for the user's folder only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from models.bundle import Screener
from models.data import Row
from models.images import Pixels
from models.loading import pictures
from models.reports import masks
from models.reports.answers import Answers, within_class
from models.reports.plots import MARKERS, Theme, canvas

Array = npt.NDArray[Any]
NEAREST = 6
MAPS = ("pca", "tsne")


def flatten(features: Array, how: str = "pca") -> Array:
    """Features [N, D] on a plane [N, 2], the same each time: principal components, or t-SNE begun at them."""
    scaled = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    plane = PCA(2, svd_solver="full").fit_transform(scaled)
    # A component's sign is arbitrary: the farthest picture lies on the positive side.
    plane = plane * np.where(plane[np.abs(plane).argmax(axis=0), [0, 1]] < 0, -1, 1)
    if how == "tsne" and len(features) > 10:
        begin = plane / max(float(plane[:, 0].std()), 1e-9) * 1e-4
        near = min(30.0, (len(features) - 1) / 3)
        return np.asarray(TSNE(perplexity=near, init=begin, random_state=0, method="exact").fit_transform(scaled))
    return np.asarray(plane)


def feature_map(theme: Theme, screener: Screener, train: Answers, plane: Array, how: str) -> Figure:
    """Training pictures on a plane [N, 2]: subclasses coloured, sources as markers."""
    composition = screener.composition
    fell = within_class(train, composition.parent, composition.classes)
    sources = sorted(set(train.source))
    with mpl.rc_context(theme.style()):
        figure, axes = canvas(7.2, 5.2)
        for number in range(len(composition.subclasses)):
            for which, source in enumerate(sources):
                own = (fell == number) & (train.source == source)
                axes.plot(*plane[own].T, MARKERS[which % 8], ms=4.5, mew=0, alpha=0.65, color=theme.colour(number))
        subclasses = [
            mpl.lines.Line2D([], [], marker="o", ls="", color=theme.colour(i), label=f"{n} ({(fell == i).sum()})")
            for i, n in enumerate(composition.subclasses)
        ]
        origins = [
            mpl.lines.Line2D([], [], marker=MARKERS[i % 8], ls="", color=theme.dim, label=source)
            for i, source in enumerate(sources)
        ]
        figure.legend(handles=[*subclasses, *origins], loc="outside right upper")
        axis = "component" if how == "pca" else "t-SNE"
        axes.set(xlabel=f"{axis} 1", ylabel=f"{axis} 2")
        axes.set_title("Training pictures by their features")
        return figure


def nearest(screener: Screener, train: Answers) -> list[tuple[str, tuple[Row, ...]]]:
    """For each subclass that any falls to, the training pictures that lie nearest to the mean of its features."""
    composition = screener.composition
    fell = within_class(train, composition.parent, composition.classes)
    assert train.features is not None
    scaled = (train.features - train.features.mean(axis=0)) / np.maximum(train.features.std(axis=0), 1e-6)
    found = []
    for number, name in enumerate(composition.subclasses):
        own = np.flatnonzero(fell == number)
        if len(own):
            gaps = np.linalg.norm(scaled[own] - scaled[own].mean(axis=0), axis=1)
            found.append((name, tuple(train.rows[own[i]] for i in np.argsort(gaps, kind="stable")[:NEAREST])))
    return found


def gallery(theme: Theme, found: Sequence[tuple[str, tuple[Row, ...]]]) -> Figure:
    """A line of pictures for each subclass, the nearest first, each with its source below."""
    with mpl.rc_context(theme.style() | {"axes.grid": False}):
        figure = Figure(figsize=(1.35 * NEAREST + 0.6, 1.62 * len(found) + 0.2), dpi=120, layout="constrained")
        table = figure.subplots(len(found), NEAREST, squeeze=False)
        for line, (name, rows) in zip(table, found, strict=True):
            shown = [pixels for _, pixels in pictures(rows)]
            for place, axes in enumerate(line):
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set_visible(False)
                if place < len(shown):
                    axes.imshow(_small(shown[place], 220), cmap="gray", vmin=0, vmax=255)
                    axes.set_xlabel(rows[place].source, fontsize=7, labelpad=2)
            line[0].set_ylabel(name, fontsize=9, fontweight="bold")
        return figure


def masked(theme: Theme, rows: Sequence[Row]) -> Figure:
    """What each audit takes away, on a few pictures: the picture, then what the network saw instead."""
    shown = [pixels for _, pixels in pictures(tuple(rows))]
    names = list(masks.AUDITS)
    with mpl.rc_context(theme.style() | {"axes.grid": False}):
        figure = Figure(figsize=(7.6, 1.95 * len(shown) + 0.2), dpi=120, layout="constrained")
        table = figure.subplots(len(shown), 1 + len(names), squeeze=False)
        for line, pixels, row in zip(table, shown, rows, strict=True):
            for place, axes in enumerate(line):
                view = pixels if not place else masks.apply(names[place - 1], pixels)[0]
                axes.imshow(_small(view, 300), cmap="gray", vmin=0, vmax=255)
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set_visible(False)
            line[0].set_ylabel(f"{row.label}\n{row.source}", fontsize=8)
        for axes, title in zip(table[0], ("whole", *names), strict=True):
            axes.set_title(title.replace("_", " "), fontsize=9)
        return figure


def examples(rows: Sequence[Row]) -> list[Row]:
    """The first picture of each class and source, six at most: chosen by no one's eye."""
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        first.setdefault((row.label, row.source), row)
    return [first[key] for key in sorted(first)][:6]


def _small(pixels: Pixels, side: int) -> Array:
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture)
