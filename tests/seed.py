"""Rows to begin a test from; no fixture, so that a test says what it starts with."""

from __future__ import annotations

import hashlib

from sqlalchemy.orm import Session

from cxrscreen import entries, jobs
from cxrscreen.tables import (
    Entry,
    EntryStatus,
    Image,
    Job,
    JobKind,
    JobState,
    ModelState,
    ModelVersion,
    OperatingPoint,
    Study,
)

RECORD = {
    "format": "cxrscreen-bundle/3",
    "classes": ["covid", "normal", "pneumonia"],
    "subclasses": [
        {"name": "covid-1", "class": "covid", "n": 5},
        {"name": "covid-2", "class": "covid", "n": 5},
        {"name": "normal-1", "class": "normal", "n": 9},
        {"name": "pneumonia-1", "class": "pneumonia", "n": 9},
    ],
    "positive": "covid",
    "backbone": "resnet10t",
    "preprocessing": "cxr8-2",
}


def model(
    session: Session, name: str = "m1", *, state: ModelState = ModelState.ACTIVE, threshold: float = 0.5
) -> ModelVersion:
    version = ModelVersion(
        name=name,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
        state=state,
        phantom=True,
        record={**RECORD, "name": name},
    )
    session.add(version)
    session.flush()
    session.add(OperatingPoint(model_version_id=version.id, threshold=threshold))
    session.flush()
    return version


def images(session: Session, count: int, prefix: str = "image") -> list[Image]:
    made = []
    for number in range(count):
        name = f"{prefix}-{number:04}.png"
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        study = Study(key=f"file:{sha256}", label=name)
        session.add(study)
        session.flush()
        image = Image(
            study_id=study.id,
            sha256=sha256,
            frame=0,
            frames=1,
            name=name,
            derivative=sha256,
            width=512,
            height=512,
            facts={},
        )
        session.add(image)
        made.append(image)
    session.flush()
    return made


def running_job(session: Session, version: ModelVersion, count: int, *, batch: int = 32, prefix: str = "image") -> Job:
    """A job whose entries are all listed and cut into batches."""
    job = jobs.create(session, JobKind.FOLDER, "a folder", version.id)
    job.state, job.listed, job.started_at = JobState.RUNNING, True, job.created_at
    ids = []
    for image in images(session, count, prefix):
        entry = Entry(job_id=job.id, name=image.name, frame=0, frames=1, attempts=0, image_id=image.id)
        entry.sha256, entry.status = image.sha256, EntryStatus.WAITING
        session.add(entry)
        session.flush()
        ids.append(entry.id)
    entries.cut_batches(session, job.id, ids, batch)
    return job


def result(score: float = 0.5) -> dict[str, object]:
    return {
        "label": "covid" if score >= 0.5 else "normal",
        "subclass": "covid-1" if score >= 0.5 else "normal-1",
        "score": score,
        "probabilities": {"covid-1": score, "normal-1": 1 - score},
        "distance": 1.0,
        "preprocessing": "cxr8-2",
        "heat": None,
    }
