"""The faults themselves. Each happens at once; what has to be undone later is given back with its delay."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import redis
from sqlalchemy import select

from bench.fault_rig import Rig, children
from cxrscreen import db, queue
from cxrscreen.settings import get_settings
from cxrscreen.tables import Batch, BatchState, Job, JobState

Undo = tuple[float, Callable[[], None]]  # seconds from now, and what to do then

STORE_SECONDS = 10.0
CLOCK = timedelta(minutes=2)


@dataclass
class Faults:
    rig: Rig
    chance: random.Random
    store_away: bool = False

    def kinds(self) -> dict[str, Callable[[], Undo | None]]:
        return {
            "kill -9, ingest worker": lambda: self._signal(["ingest"], signal.SIGKILL),
            "kill -9, one process of the ingest pool": self._kill_pool_process,
            "kill -9, screening worker": lambda: self._signal(["screen"], signal.SIGKILL),
            "kill -9, web": lambda: self._signal(["web"], signal.SIGKILL),
            "kill -9, beat": lambda: self._signal(["beat"], signal.SIGKILL),
            "kill -9, supervisor": lambda: self._signal(["supervisord"], signal.SIGKILL),
            "SIGTERM": lambda: self._signal(["ingest", "screen", "screen", "web", "beat"], signal.SIGTERM),
            "SIGSTOP longer than a lease": self._freeze,
            "Redis killed, back empty": lambda: self._signal(["redis"], signal.SIGKILL),
            "PostgreSQL restarted, immediate": self._restart_postgres,
            "messages delivered twice": self._repeat_messages,
            "lease two minutes off": self._move_leases,
            "store away for ten seconds": self._take_store,
        }

    def _victim(self, roles: list[str]) -> int | None:
        pids = self.rig.pids(self.chance.choice(roles))
        return self.chance.choice(pids) if pids else None

    def _signal(self, roles: list[str], number: int) -> None:
        if pid := self._victim(roles):
            _send(pid, number)

    def _kill_pool_process(self) -> None:
        pool = [child for pid in self.rig.pids("ingest") for child in children(pid)]
        if pool:
            _send(self.chance.choice(pool), signal.SIGKILL)

    def _freeze(self) -> Undo | None:
        pid = self._victim(["ingest", "screen", "screen"])
        if pid is None:
            return None
        frozen = [pid, *children(pid)]
        for each in frozen:
            _send(each, signal.SIGSTOP)

        def thaw() -> None:
            for each in frozen:
                _send(each, signal.SIGCONT)

        return get_settings().lease_seconds * self.chance.uniform(1.3, 2), thaw

    def _restart_postgres(self) -> None:
        """SIGQUIT is the immediate mode: no checkpoint, every connection cut; it comes back through recovery."""
        pid = self.rig.server.get_pid()
        if pid is not None:
            _send(pid, signal.SIGQUIT)
            while Path(f"/proc/{pid}").exists():
                time.sleep(0.02)
        until = time.monotonic() + 120
        while True:
            try:
                self.rig.server.ensure_postgres_running()
                return
            except (subprocess.SubprocessError, AssertionError):  # it gives a busy machine ten seconds only
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def _repeat_messages(self) -> None:
        """Every message that waits once more, as Redis does after its visibility timeout, and some at random."""
        try:
            with redis.Redis.from_url(get_settings().broker, socket_timeout=5) as client:
                for name in set(queue.QUEUES.values()):
                    for message in client.lrange(name, 0, -1):  # type: ignore[union-attr, unused-ignore]
                        client.rpush(name, message)
        except redis.RedisError:
            return
        with db.read() as session:
            job_ids = list(session.scalars(select(Job.id)))
            batch_ids = list(session.scalars(select(Batch.id).order_by(Batch.id.desc()).limit(50)))
        for job_id in job_ids:
            queue.submit(queue.INGEST, job_id)
            queue.submit(queue.INGEST, job_id)
        for batch_id in self.chance.sample(batch_ids, min(4, len(batch_ids))):
            queue.submit(queue.SCREEN, batch_id)
            queue.submit(queue.SCREEN, batch_id)

    def _move_leases(self) -> None:
        """As if the clock had been wrong by two minutes, either way, when the leases were written."""
        off = CLOCK * self.chance.choice((-1, 1))
        with db.write() as session:
            held: list[Batch | Job] = [
                *session.scalars(select(Batch).where(Batch.state == BatchState.LEASED)),
                *session.scalars(select(Job).where(Job.state == JobState.RUNNING)),
            ]
            for row in held:
                if row.lease_until is not None:
                    row.lease_until += off

    def _take_store(self) -> Undo | None:
        """Renamed away, as a share that is unmounted; or with a file in its place, so that nothing can be made."""
        if self.store_away:
            return None
        store = self.rig.store
        kept = store.with_name("store.away")
        blocked = self.chance.random() < 0.5
        store.rename(kept)
        if blocked:
            store.write_text("not a folder")
        self.store_away = True

        def bring_back() -> None:
            if store.exists():
                # What was written meanwhile is hidden, as under a share that is mounted again.
                store.rename(_free(store.with_name("store.hidden")))
            kept.rename(store)
            self.store_away = False

        return STORE_SECONDS, bring_back


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _free(path: Path) -> Path:
    number = 0
    while (named := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return named
