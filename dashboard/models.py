"""Model versions: what is registered, what it can do, which one people see, and at what threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, redirect, render_template, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from cxrscreen import db, drift, jobs, operating, queue, registry
from cxrscreen.errors import NotFound
from cxrscreen.tables import JobKind, ModelVersion, Role
from dashboard import filters, identity, languages
from dashboard.security import needs

blueprint = Blueprint("models", __name__, url_prefix="/models")

NAMED = {
    **{"auroc": "AUROC", "n": "images", "val": "validation", "cv": "cross-validation"},
    "within_source_auroc": "AUROC within a source",
}
HEADLINE = ("sensitivity", "specificity", "auroc", "balanced_accuracy", "accuracy")


@blueprint.get("")
def index() -> str:
    with db.read() as session:
        versions = registry.every(session)
        limits = registry.thresholds(session, [version.id for version in versions])
        signed = registry.activations(session)
        before = registry.previous(session)
        alerts = drift.alerts(session)
    return render_template(
        "models.html",
        versions=versions,
        limits=limits,
        signed=signed,
        before=before,
        alerts=alerts,
        headline=HEADLINE,
        figures={version.id: dict(headline(version.record)) for version in versions},
    )


@blueprint.get("/<id:version_id>")
def show(version_id: int) -> str:
    with db.read() as session:
        version = get_version(session, version_id)
        points = operating.history(session, version_id)
        limit = registry.threshold(session, version_id)
    return render_template(
        "model.html",
        version=version,
        record=version.record,
        points=points,
        threshold=limit,
        figures=list(flat(version.record.get("figures") or {})),
    )


@blueprint.post("/<id:version_id>/rescreen")
@needs(Role.ADMIN)
def rescreen(version_id: int) -> Response:
    return redirect(url_for("jobs.show", job_id=queue_rescreen(version_id)))


def queue_rescreen(version_id: int) -> int:
    """A job over the archive with this version, and a worker woken; the job's number."""
    with db.write() as session:
        version = get_version(session, version_id)
        job = jobs.create(
            session,
            JobKind.RESCREEN,
            f"Archive again with {version.name}",
            version.id,
            user=identity.signed_in().row,
        )
    queue.submit(queue.INGEST, job.id)
    return job.id


def get_version(session: Session, version_id: int) -> ModelVersion:
    version = session.get(ModelVersion, version_id)
    if version is None:
        raise NotFound(f"There is no model version {version_id}.")
    return version


def headline(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The figures that a list has room for, by their last name; the record's own order decides between two."""
    seen: set[str] = set()
    for name, said in flat(record.get("figures") or {}):
        last = name.rpartition(" · ")[2]
        if last in HEADLINE and last not in seen:
            seen.add(last)
            yield last, said.partition(" ")[0]


def flat(figures: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Figures of any depth as lines; `{"value", "ci95"}` is one figure with its interval."""
    for key, value in figures.items():
        name = f"{above} · {key}" if above else str(key)
        if isinstance(value, dict) and "value" in value:
            interval = value.get("ci95")
            bounds = isinstance(interval, list) and len(interval) == 2
            yield (
                name,
                _figure(value["value"])
                + (f" [{_figure(interval[0])}, {_figure(interval[1])}]" if bounds and interval else ""),
            )
        elif isinstance(value, dict):
            yield from flat(value, name)
        elif isinstance(value, int | float | str) or value is None:
            yield name, _figure(value)


@blueprint.app_template_filter()
def figure_name(name: str) -> str:
    """The name of a figure in words, as a title has it; a part that a bundle made up stays as it is."""
    parts = (NAMED.get(part, part.replace("_", " ")) for part in name.split(" · "))
    told = " · ".join(languages.said(part) for part in parts)
    return told[:1].upper() + told[1:]


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return filters.decimal(value) if math.isfinite(value) else "–"
    return "–" if value is None else str(value)
