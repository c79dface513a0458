"""A site that was lived in for two weeks, all of it phantoms: what the pictures of the documents are taken of."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import seed
from dashboard_fixtures import Site
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from stack_fixtures import register
from steps import job_over, screen_all
from viewer_fixtures import with_tags

from cxrscreen import db, drift, entries, jobs, nights, readings, studies, users
from cxrscreen.imaging import phantoms
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.imaging.reasons import Reason
from cxrscreen.readings import Given
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Activation,
    AuditEvent,
    Batch,
    BatchState,
    Entry,
    EntryStatus,
    Image,
    ModelState,
    ModelVersion,
    NightState,
    Result,
    Role,
    Schedule,
    Study,
    StudyResult,
    User,
    Verdict,
    Worker,
    now,
)
from worker import ingest

NIGHTS = 12


@pytest.fixture
def site(
    configure: Callable[..., Settings],
    sqlite_database: Settings,
    phantom_bundle: Path,
    screener_once: None,
    tmp_path: Path,
) -> Site:
    """In place of the empty site of other tests, so that the browsers of `opened` see it."""
    chance = random.Random(11)
    configure(allowed_roots=tmp_path, second_readings=0.25)
    made = Site()
    folder = tmp_path / "ward-7"
    folder.mkdir()
    phantoms.write_archive(folder / "phantoms.zip", per_class=8, seed=7, side=768)
    for name, data in _patient().items():
        (folder / name).write_bytes(data)
    made.model_id = register(phantom_bundle).id
    with db.write() as session:
        for name, row in (("phantom-1", 1), ("phantom-2", made.model_id)):
            session.get_one(ModelVersion, row).name = name
        candidate = ModelVersion(
            name="phantom-3",
            sha256="3" * 64,
            state=ModelState.CANDIDATE,
            phantom=True,
            record={**session.get_one(ModelVersion, made.model_id).record, "name": "phantom-3"},
        )
        session.add(candidate)
        users.get(session, "reader").role = Role.ADMIN  # whom the browsers sign in, and who may see every page
        users.add(session, "orlova", Role.READER)
        users.add(session, "petrov", Role.READER)
        session.flush()
        candidate_id = candidate.id
    screened = job_over(folder, made.model_id)
    ingest.run(screened)
    screen_all()
    with db.write() as session:
        jobs.get(session, screened).title = folder.name
        session.execute(update(Activation).values(actor="reader", sign_off="Looked at 386 studies and eleven misses."))
        pictured = dict(session.execute(select(Image.derivative, Result.label).join(Result)).all())  # type: ignore[arg-type]
        ids = _nights(session, made.model_id, pictured, chance)
        _shadow(session, candidate_id, ids, chance)
        _work(session, made.model_id)
    for version in (made.model_id, candidate_id):
        drift.measure(version, None)
    return made


def _patient() -> dict[str, bytes]:
    """Two images of one study of a patient, and an earlier study of the same one."""
    files = {}
    for number, (study, name) in enumerate((("1.2.9", "new-1.dcm"), ("1.2.9", "new-2.dcm"), ("1.2.8", "before.dcm"))):
        pixels = phantoms.phantom("covid", 900 + number, 1024, bits=12).astype(np.uint16)
        tags = {"PatientID": "PHANTOM-P", "StudyInstanceUID": study, "InstanceNumber": str(number + 1)}
        files[name] = with_tags(dicom_bytes(pixels, 900 + number, 9, inverted=False), **tags)
    return files


def _nights(session: Session, version: int, pictured: dict[str, str], chance: random.Random) -> list[int]:
    """Studies of the nights before as rows: the same phantoms under other names, most of the flagged ones read."""
    readers = [users.get(session, name) for name in ("orlova", "petrov", "reader")]
    names = [part["name"] for part in session.get_one(ModelVersion, version).record["subclasses"]]
    made = seed.images(session, 360, "ward-3")
    for number, image in enumerate(made):
        ill = chance.random() < 0.2
        score = min(0.999, max(0.001, chance.betavariate(5, 2) if ill else chance.betavariate(1.2, 6)))
        label = "covid" if score >= 0.5 else chance.choice(["normal", "normal", "pneumonia"])
        image.derivative = chance.choice([name for name, said in pictured.items() if said == label])
        image.facts = {"view": "PA", "source": "ward 3"}
        subclass = chance.choice([name for name in names if name.startswith(label)])
        rest = {name: (1 - score) / (len(names) - 1) for name in names}
        said = {"label": label, "subclass": subclass, "probabilities": rest | {subclass: score}}
        distance = 1 + chance.random()
        session.add(
            Result(image_id=image.id, model_version_id=version, **(seed.result(score) | said | {"distance": distance}))
        )
        session.flush()
        studies.refresh(session, [image.study_id], version)
        study = session.get_one(Study, image.study_id)
        if chance.random() < (0.8 if score >= 0.5 else 0.15):
            _read(session, study, chance.sample(readers, 3), version, ill, chance)
        study.created_at = now() - timedelta(days=number % NIGHTS, minutes=number)
        moved = update(StudyResult).where(StudyResult.study_id == study.id).values(updated_at=study.created_at)
        session.execute(moved)
    return [image.id for image in made]


def _read(session: Session, study: Study, readers: list[User], version: int, ill: bool, chance: random.Random) -> None:
    """A verdict; of the cases that two people read two, and a third person's where they differ."""
    true = Verdict.CONFIRMED if ill else Verdict.DISMISSED

    def given(**more: bool) -> Given:
        verdict = true if chance.random() < 0.85 else Verdict.UNSURE
        findings = ["ground-glass"] if verdict == Verdict.CONFIRMED else []
        return Given(verdict, "", findings, 4 + 20 * chance.random(), version, None, **more)

    readings.give(session, study, readers[0], given())
    if study.first_reader_id and chance.random() < 0.9:
        readings.give(session, study, readers[1], given())
        if studies.current_review(session, study.id) is None and chance.random() < 0.7:
            readings.give(session, study, readers[2], given(adjudicates=True))


def _shadow(session: Session, version: int, image_ids: list[int], chance: random.Random) -> None:
    """What the candidate says of the same studies."""
    for before in session.scalars(select(Result).where(Result.image_id.in_(image_ids))).all():
        score = min(0.999, max(0.001, before.score + chance.gauss(0.02, 0.08)))
        said = {"label": before.label, "subclass": before.subclass, "distance": before.distance}
        session.add(Result(image_id=before.image_id, model_version_id=version, **(seed.result(score) | said)))
    session.flush()
    owners = session.scalars(select(Image.study_id).where(Image.id.in_(image_ids))).all()
    studies.refresh(session, owners, version)


def _work(session: Session, version: int) -> None:
    """A schedule with its nights, a job at work, files that were set aside, workers that breathe."""
    hours = {"cron": "0 22 * * *", "timezone": "Europe/Minsk", "window_from": "22:00", "window_until": "06:00"}
    nightly = Schedule(name="Night of the wards", **hours)
    session.add_all(
        [nightly, Schedule(name="Sundays, whole archive", cron="30 9 * * 0", timezone="UTC", enabled=False)]
    )
    session.flush()
    last = now().replace(hour=19, minute=0, second=0, microsecond=0) - timedelta(days=1)
    ends = [NightState.DONE, NightState.DONE, NightState.MISSED, NightState.DONE, NightState.FAILED, NightState.DONE]
    reasons = {
        NightState.MISSED: "Job 1, the run before, was still at work.",
        NightState.FAILED: "There is no active model.",
    }
    for back, state in enumerate(ends):
        begun = last - timedelta(days=back)
        nights.write(session, nightly, begun, state, reasons.get(state, ""), begun + timedelta(hours=8))
    job = seed.running_job(session, session.get_one(ModelVersion, version), 640, batch=32, prefix="ward-9/IM")
    job.title, job.user_id = "ward-9", users.get(session, "operator").id
    job.created_at = job.started_at = now() - timedelta(minutes=6)
    opened = update(AuditEvent).where(AuditEvent.subject == f"job {job.id}")
    session.execute(opened.values(at=job.created_at, actor="operator"))
    done = session.scalars(select(Batch).where(Batch.job_id == job.id).order_by(Batch.id).limit(9)).all()
    for number, batch in enumerate(done):
        batch.state, batch.finished_at = BatchState.DONE, job.created_at + timedelta(seconds=35 * (number + 1))
        batch.claimed_at, batch.attempts = batch.finished_at - timedelta(seconds=30), 1
        session.execute(update(Entry).where(Entry.batch_id == batch.id).values(status=EntryStatus.SCORED))
    for name, reason, status in (
        ("ward-9/side.dcm", Reason.NOT_FRONTAL, EntryStatus.REJECTED),
        ("ward-9/notes.txt", Reason.NO_IMAGE, EntryStatus.REJECTED),
        ("ward-9/half.dcm", Reason.DAMAGED, EntryStatus.REJECTED),
        ("ward-9/IM-0700.dcm", Reason.INTERNAL, EntryStatus.FAILED),
    ):
        entry = Entry(job_id=job.id, name=name)
        session.add(entry)
        session.flush()
        entries.reject(session, entry, reason, "", status=status)
    for role, doing in (("screen", f"job {job.id}, batch {done[-1].id + 1}: 32 images"), ("ingest", "")):
        session.add(Worker(name=f"{role}@ward", role=role, pid=4, doing=doing, done=9))
