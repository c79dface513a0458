"""The report of an evaluation: one HTML file that holds all it shows, and its drawings as PNG beside it."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from models.data import Row
from models.evaluation import Examined
from models.reports import gallery, plots
from models.reports.answers import WHOLE
from models.reports.plots import DARK, LIGHT, Theme

PAGE, FIGURES = "report.html", "report.json"
Drawing = Callable[[Theme], Figure]


def write(examined: Examined, folder: Path, how: str = "pca") -> Path:
    """Write the report into `folder` (made where it is not) and answer the page's path.

    The page, its light drawings and the figures as JSON; the same evaluation gives the same bytes. `how` is one of
    gallery.MAPS. Pictures of people are among the drawings: the folder is the user's, and stays out of any repository.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, dict[str, str]] = {}
    for name, draw in drawings(examined, how).items():
        drawn[name] = {}
        for theme in (LIGHT, DARK):
            data = _png(draw(theme))
            drawn[name][theme.name] = base64.b64encode(data).decode()
            if theme is LIGHT:
                (folder / f"{name}.png").write_bytes(data)
    (folder / FIGURES).write_text(json.dumps(examined.figures, indent=2) + "\n")
    page = folder / PAGE
    page.write_text(_page(examined, drawn))
    return page


def drawings(examined: Examined, how: str = "pca") -> dict[str, Drawing]:
    """The drawings that this evaluation allows, by name."""
    figures, whole, record = examined.figures, examined.test[WHOLE], examined.screener.record
    classes, positive, threshold = tuple(figures["classes"]), record["positive"], figures["threshold"]
    truth = whole.truth(classes)
    sick, score = truth == classes.index(positive), whole.class_p[:, classes.index(positive)]
    label = np.array([row.label for row in whole.rows])
    answer = whole.class_p.argmax(axis=1)
    series = {f"all ({len(sick)})": (sick, score)}
    for source in np.unique(whole.source):
        own = whole.source == source
        if len(set(sick[own])) == 2:
            series[f"{source} alone ({own.sum()})"] = (sick[own], score[own])
    drawn: dict[str, Drawing] = {
        "roc": lambda theme: plots.roc(theme, series, whole.patient, threshold, figures["seed"]),
        "precision_recall": lambda theme: plots.precision_recall(theme, sick, score, threshold),
        "reliability_answer": lambda theme: plots.reliability(
            theme, whole.class_p.max(axis=1), answer == truth, "Calibration of the answered class", "confidence"
        ),
        "reliability_score": lambda theme: plots.reliability(
            theme, score, sick, f"Calibration of P({positive})", f"P({positive})"
        ),
        "confusion": lambda theme: plots.confusion(theme, figures["confusion"], classes),
        "scores": lambda theme: plots.scores(theme, score, label, whole.source, classes, threshold),
        "audits": lambda theme: _audits(theme, figures, positive),
        "masks": lambda theme: gallery.masked(theme, gallery.examples(whole.rows)),
    }
    if examined.train is not None:
        train = examined.train[WHOLE]
        assert train.features is not None
        plane, found = gallery.flatten(train.features, how), gallery.nearest(examined.screener, train)
        drawn["map"] = lambda theme: gallery.feature_map(theme, examined.screener, train, plane, how)
        drawn["gallery"] = lambda theme: gallery.gallery(theme, found)
    return drawn


def _audits(theme: Theme, figures: dict[str, Any], positive: str) -> Figure:
    names = ["this network, all pairs", "this network, pairs of one source"]
    again = "relearned" in figures
    if again:
        names += ["relearned, all pairs", "relearned, pairs of one source"]
    groups = []
    for title, told in {"whole picture": figures, **figures["audits"]}.items():
        row = [told[positive]["auroc"], told["within_source_auroc"]]
        if again:
            row += [told["relearned"]["auroc"], told["relearned"]["within_source_auroc"]]
        groups.append((title.replace("_", " "), row))
    return plots.forest(theme, groups, names, "What is left without the lungs", "AUROC, 95 % interval; 0.5 is chance")


def _png(figure: Figure) -> bytes:
    held = io.BytesIO()
    # No software line: two releases of matplotlib that draw alike shall give the same bytes.
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


def _page(examined: Examined, drawn: dict[str, dict[str, str]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("models.reports", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = _figure
    record = examined.screener.record
    parts: dict[str, tuple[Row, ...] | None] = {
        "train": examined.train[WHOLE].rows if examined.train else None,
        "val": examined.validation.rows if examined.validation else None,
    }
    parts[examined.figures["split"]] = examined.test[WHOLE].rows
    return environment.get_template("report.html").render(
        f=examined.figures,
        record=record,
        positive=record["positive"],
        drawn=drawn,
        held={name: _held(rows, record["classes"]) for name, rows in parts.items() if rows},
    )


def _held(rows: tuple[Row, ...], classes: list[str]) -> list[tuple[str, list[str]]]:
    """For each source, its pictures (patients) of each class."""
    pictures = Counter((row.source, row.label) for row in rows)
    patients = Counter((source, label) for source, label, _ in {(row.source, row.label, row.patient) for row in rows})
    return [
        (source, [f"{pictures[source, c]} ({patients[source, c]})" if pictures[source, c] else "-" for c in classes])
        for source in sorted({row.source for row in rows})
    ]


def _figure(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "not defined"
    if figure["ci95"][0] is None:
        return f"{figure['value']:.3f}"
    return "{:.3f} ({:.3f} to {:.3f})".format(figure["value"], *figure["ci95"])
