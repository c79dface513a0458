"""The rate limit of a job: a claim of its images holds the next claims back for as long as these images may take."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BindParameter, ColumnElement, or_
from sqlalchemy.orm import Session

from cxrscreen.tables import Job

# A quiet moment of up to this long is made good for: workers are woken by sweeps, which come some seconds late.
CREDIT = timedelta(seconds=30)


def free(moment: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """The condition that a job's batches may be claimed at this moment."""
    return or_(Job.held_until.is_(None), Job.held_until <= moment)


def hold(session: Session, job_id: int, images: int, moment: datetime) -> None:
    """Hold a job with a rate back after a claim of so many images; whoever claims has its batch's row."""
    job = session.get_one(Job, job_id)
    if job.rate:
        session.refresh(job, ["held_until"], with_for_update={"key_share": True})
        since = max(job.held_until or moment, moment - CREDIT)
        job.held_until = since + timedelta(minutes=images / job.rate)
