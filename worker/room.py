"""Room: an ingest that runs ahead of the screening workers, or of the disk, waits; after a turn it gives way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cxrscreen import batches, blobs, db, ingests
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job
from worker import runtime
from worker.stop import Stopped

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
OTHERS_SECONDS = 2.0  # between two looks at who else waits
# A walk that is begun again passes by what is settled, which costs something: so turns are long.
TURN_SECONDS = 60.0


class Room:
    """Asked before each slice or page of a job that is read."""

    def __init__(self, job: Job, worker: str) -> None:
        self.job, self.worker = job, worker
        self.since = self.looked = time.monotonic()

    def wait(self, first: Callable[[], None] = lambda: None) -> None:
        """Return once there is room for another slice; `first` is called before it has to wait or to give way.

        Raises Stopped where the job is paused, cancelled or lost, a shutdown is asked for, or where another job waits
        for a process that reads it: one that is more urgent, one of another person after a turn, any one that has room
        while this one has none. This one comes back through the sweep.
        """
        self._give_way(first)
        doing = runtime.INGESTING.doing
        while full := _full(self.job.id):
            if runtime.INGESTING.doing == doing:
                first()
                log.info("Ingest of job %s waits: %s", self.job.id, full)
            runtime.INGESTING.doing = f"job {self.job.id} waits: {full}"
            time.sleep(LOOK_SECONDS)
            with db.write() as session:
                held = ingests.hold(session, self.job.id, self.worker)
                if runtime.stopping() or not held or ingests.others_with_room(session, self.job.id):
                    raise Stopped
        runtime.INGESTING.doing = doing

    def _give_way(self, first: Callable[[], None]) -> None:
        moment = time.monotonic()
        if moment - self.looked < OTHERS_SECONDS:
            return
        self.looked = moment
        with db.read() as session:
            wanted = ingests.wanted_by_others(session, self.job, turn_over=moment - self.since > TURN_SECONDS)
        if wanted:
            first()
            log.info("Ingest of job %s gives way", self.job.id)
            raise Stopped


def _full(job_id: int) -> str:
    """What there is no room in; empty where there is."""
    settings = get_settings()
    free = blobs.store().free_bytes()
    if free is not None and free < settings.store_reserve_gb * 1e9:
        return f"the store has {free / 1e9:.1f} GB left, and {settings.store_reserve_gb:g} GB are kept free"
    with db.read() as session:
        waiting = batches.waiting_count(session, job_id)
    return f"{waiting} batches wait for screening" if waiting >= settings.waiting_batches else ""
