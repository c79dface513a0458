"""A night of a real stack: a candidate reads the archive in shadow, and its night, comparison and drift tell of it."""

from __future__ import annotations

import json
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from stack_fixtures import PATIENCE_SECONDS, add_job, register, wait_until_ended

from cxrscreen import compare, db, local, nights, queue, registry
from cxrscreen.tables import Job, JobKind, JobState, ModelPolicy, NightState, Schedule, StudyResult, now

pytestmark = pytest.mark.stack


def test_a_candidate_reads_the_archive_in_its_night(
    stack: local.Stack, phantom_bundle: Path, phantom_archive: Path, tmp_path: Path
) -> None:
    account = wait_until_ended(add_job(JobKind.COMMAND, phantom_archive).id)
    with db.read() as session:
        active = registry.need_active(session)
        seen = results(session, active.id)
    folder = tmp_path / "candidate"
    shutil.copytree(phantom_bundle, folder)
    record = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**record, "name": "candidate"}))
    candidate = register(folder, activate=False)
    with db.write() as session:
        earlier = now() - timedelta(hours=1, minutes=1)
        row = Schedule(name="Shadow", cron="0 * * * *", timezone="UTC", policy=ModelPolicy.CANDIDATE, rate=6000)
        row.armed_at = earlier
        session.add(row)
    queue.app().send_task(queue.NIGHTLY)  # what beat sends every half minute
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        with db.read() as session:
            job = session.scalar(select(Job).where(Job.kind == JobKind.NIGHTLY))
        if job is not None and job.state == JobState.DONE:
            break
        assert time.monotonic() < until, job and (job.state, job.error)
        time.sleep(0.2)
    assert job.model_version_id == candidate.id
    queue.app().send_task(queue.NIGHTLY)
    while True:
        with db.read() as session:
            states = {night.state for night, _, _ in nights.listed(session, 9)}
        if NightState.OPEN not in states:
            break
        assert time.monotonic() < until, states
        time.sleep(0.2)
    assert NightState.DONE in states and NightState.FAILED not in states
    with db.read() as session:
        assert results(session, active.id) == seen, "what readers see is as it was"
        assert registry.need_active(session).id == active.id
        told = compare.versions(session, active, candidate)
    assert (told["studies"], told["same_label"], told["newly_flagged"]) == (len(seen), len(seen), 0)
    assert told["mean_score_shift"] == pytest.approx(0, abs=1e-4), "the same network"
    assert account.scored == len(seen)


def results(session: Session, version_id: int) -> list[tuple[object, ...]]:
    query = select(StudyResult.study_id, StudyResult.score, StudyResult.label, StudyResult.updated_at)
    rows = session.execute(query.where(StudyResult.model_version_id == version_id).order_by(StudyResult.study_id))
    return [tuple(row) for row in rows]
