"""What is new in a folder that a schedule watches: each file is taken once for each time it changes.

A file is known by keyed hashes of its place, so that no name of a person is kept, and by a stamp: size and time of
change, or what an object store says of it. What a job took that was cancelled or failed as a whole is new again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from cxrscreen import db
from cxrscreen.imaging import File, Reason, Rejected, folders
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job, JobState, Schedule, WatchedFile

PAGE = 256
UNDONE = (JobState.CANCELLED, JobState.FAILED)

_Key = tuple[str, str]


@dataclass
class Arrivals:
    """The walk of one job of a schedule through the folder that it watches."""

    schedule_id: int | None  # None: the schedule is gone, and so is what it knew
    job_id: int
    unchanged: int = 0  # files that were taken before and are what they were
    unsettled: int = 0  # files that are still written to, as it seems

    def fresh(self, files: Iterable[File]) -> Iterator[File]:
        """Those to be read now: what is new, and what this very job began before it was interrupted."""
        if self.schedule_id is None:
            return
        for page in folders.pages(files, PAGE):
            known = self._known(page)
            for file in page:
                before = known.get(_key(file.place))
                if before is not None and before.job_id == self.job_id:
                    # What changed since this job read it is for the next one, whole.
                    if before.stamp not in ("", file.stamp):
                        self.unsettled += 1
                        continue
                elif before is not None and file.stamp and before.stamp == file.stamp:
                    self.unchanged += 1
                    continue
                elif not _settled(file):
                    self.unsettled += 1
                    continue
                yield file

    def take(self, session: Session, ends: Iterable[tuple[File | None, Rejected | None]]) -> None:
        """Remember what was read, in the transaction that answers for it; what could not be read stays new."""
        rows: dict[_Key, str] = {}
        for file, refused in ends:
            if file is not None and file.stamp:
                unread = refused is not None and refused.reason == Reason.UNREADABLE
                rows[_key(file.place)] = "" if unread else file.stamp
        if not rows or self.schedule_id is None:
            return
        statement = db.insert_for(session, WatchedFile)
        values = [
            {"schedule_id": self.schedule_id, "folder": key[0], "file": key[1], "stamp": stamp, "job_id": self.job_id}
            for key, stamp in sorted(rows.items())  # an earlier night that is tried again may take the same files
        ]
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["schedule_id", "folder", "file"],
                set_={"stamp": statement.excluded.stamp, "job_id": statement.excluded.job_id},
            ),
            values,
        )

    def tell(self, session: Session) -> None:
        """Write into the job what was left out of it."""
        job = session.get_one(Job, self.job_id)
        job.scope = {**job.scope, "unchanged": self.unchanged, "unsettled": self.unsettled}

    def _known(self, files: Iterable[File]) -> dict[_Key, WatchedFile]:
        keys = sorted(_key(file.place) for file in files)
        known: dict[_Key, WatchedFile] = {}
        with db.read() as session:
            for folder, found in groupby(keys, lambda key: key[0]):
                query = (
                    select(WatchedFile)
                    .outerjoin(Job, Job.id == WatchedFile.job_id)
                    .where(
                        WatchedFile.schedule_id == self.schedule_id,
                        WatchedFile.folder == folder,
                        WatchedFile.file.in_([key[1] for key in found]),
                        (WatchedFile.job_id == self.job_id) | Job.state.not_in(UNDONE) | Job.id.is_(None),
                    )
                )
                known |= {(row.folder, row.file): row for row in session.scalars(query)}
        return known


def of_job(session: Session, job: Job) -> Arrivals:
    schedule = session.get(Schedule, job.schedule_id) if job.schedule_id is not None else None
    return Arrivals(schedule.id if schedule else None, job.id)


def _settled(file: File) -> bool:
    """Nobody has written to a file for a while, nor since the walk came to it. An object appears whole."""
    if file.changed is None or file.refused:
        return True
    # Within the same span ahead, too: the clock of a file server may be a little before ours.
    return abs(time.time() - file.changed) >= get_settings().settle_seconds and folders.is_as_it_was(file)


def _key(place: str) -> _Key:
    folder, _, _ = place.rpartition("/")
    secret = get_settings().pseudonym_secret().encode()
    hashes = [hmac.new(secret, os.fsencode(text), hashlib.sha256).hexdigest()[:32] for text in (folder, place)]
    return hashes[0], hashes[1]
