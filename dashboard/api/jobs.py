"""Jobs for programs: queue a folder, follow it, stop it, read what became of each file."""

from __future__ import annotations

from typing import Any

from flask import url_for
from sqlalchemy.orm import Session

from cxrscreen import db, entries, jobs, registry
from cxrscreen.imaging.reasons import sentence
from cxrscreen.tables import EntryStatus
from cxrscreen.tables import Job as JobRow
from dashboard import jobs as pages
from dashboard import uploads
from dashboard.api.contract import operation
from dashboard.api.shapes import Entries, EntriesAsked, Entry, Folder, Job, JobNow, Jobs, JobsAsked


@operation("GET", "/jobs", query=JobsAsked)
def list_jobs(asked: JobsAsked) -> Jobs:
    """The latest jobs, the newest first."""
    with db.read() as session:
        found = jobs.latest(session, asked.limit + 1, asked.before)
        shown = found[: asked.limit]
        accounts = jobs.accounts(session, [job.id for job in shown])
    told = [Job(**_head(job), **_sums(accounts[job.id])) for job in shown]
    return Jobs(jobs=told, next=shown[-1].id if len(found) > asked.limit else None)


@operation("POST", "/jobs", status=201, body=Folder)
def queue_folder(given: Folder) -> JobNow:
    """Queue a folder that the server sees.

    To send files instead, upload them (docs/uploads.md): any tus client does, with the same token.
    """
    return show_job(uploads.queue_folder(given.source))


@operation("GET", "/jobs/<id:job_id>")
def show_job(job_id: int) -> JobNow:
    """A job, its account, and how long it may take."""
    with db.read() as session:
        return _now(session, jobs.get(session, job_id))


@operation("POST", "/jobs/<id:job_id>/<any(pause,resume,cancel,retry):action>")
def change_job(job_id: int, action: str) -> JobNow:
    """Pause a job, let it go on, cancel it, or try again what failed."""
    pages.change(job_id, action)
    return show_job(job_id)


@operation("GET", "/jobs/<id:job_id>/entries", query=EntriesAsked)
def list_entries(job_id: int, asked: EntriesAsked) -> Entries:
    """What a job found, in the order it was found, and how each ended.

    A table of all of it is at `/jobs/<id>/export.csv`, with the same token.
    """
    with db.read() as session:
        job = jobs.get(session, job_id)
        found = entries.page(
            session, job, status=asked.status, reason=asked.reason, after=asked.after, limit=asked.limit + 1
        )
        limit = registry.threshold(session, job.model_version_id)
    shown = found[: asked.limit]
    return Entries(
        entries=[_entry(line, limit) for line in shown],
        next=shown[-1].entry.id if len(found) > asked.limit else None,
    )


def _head(job: JobRow) -> dict[str, Any]:
    same = ("id", "title", "kind", "state", "created_at", "started_at", "finished_at", "error")
    return {name: getattr(job, name) for name in same} | {"model_version": job.model_version_id}


def _sums(account: jobs.Account) -> dict[str, int]:
    return {"found": account.found} | {status.value: getattr(account, status.value) for status in EntryStatus}


def _now(session: Session, job: JobRow) -> JobNow:
    told = jobs.progress(session, job)
    wanted = JobNow.model_fields.keys() & told.keys()
    return JobNow(
        **{**_head(job), **{name: told[name] for name in wanted}},
        open=job.state in jobs.OPEN,
        url=url_for("jobs.show", job_id=job.id),
    )


def _entry(line: entries.Line, threshold: float) -> Entry:
    entry, said, rejection = line.entry, line.answer, line.rejection
    return Entry(
        id=entry.id,
        file=entry.name,
        frame=entry.frame,
        status=entry.status,
        reason=rejection.reason if rejection else None,
        sentence=sentence(rejection.reason) if rejection else None,
        detail=rejection.detail or None if rejection else None,
        sha256=entry.sha256,
        duplicate_of=entry.duplicate_of,
        image=entry.image_id,
        study=line.study_id,
        class_=said.label if said else None,
        subclass=said.subclass if said else None,
        score=said.score if said else None,
        flagged=said.score >= threshold if said else None,
    )
