"""What every worker process does beside its work: a name, a heartbeat, leases that stay alive, an end in good order."""

from __future__ import annotations

import importlib
import logging
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from celery import signals
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from cxrscreen import db
from cxrscreen.imaging import memory
from cxrscreen.settings import get_settings
from cxrscreen.tables import Worker, now

log = logging.getLogger(__name__)

Told = TypeVar("Told")

HEARTBEAT_SECONDS = 5.0
PATIENCE_SECONDS = 60.0  # a database that is restarted is back sooner
# Pages well before screening: a reader waits for a page, nobody for a batch. Screening before ingest by little: a batch
# that is ready runs through at once instead of sharing every core's cache with the decoding of the next one.
SCREENING_NICE, INGEST_NICE = 6, 8

# What an ingest keeps of freed memory: a picture of the largest detectors, samples and all; the second is the most that
# glibc takes. Without, a third of what an uncompressed file costs is the kernel's setting of pages to zero.
KEPT_BYTES, MAPPED_FROM = 64 << 20, 32 << 20
HEAPS = 2

# One byte that the processes of a pool share with their parent: it is mapped before the fork, and writing it in a
# signal handler needs no lock.
_stop = mmap.mmap(-1, 1)
_boot = os.urandom(3).hex()


def name() -> str:
    """Who holds a lease. The random tail keeps a later process that gets the same number apart."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{_boot}"


def stopping() -> bool:
    """A warm shutdown was asked for: end at the next good place."""
    return _stop[0] != 0


def patiently(do: Callable[[], Told]) -> Told:
    """Call until the database answers; what it is called for has to be harmless when done twice.

    Raises what the database said where it stays away too long, where a shutdown is asked for, or where it is no matter
    of being away.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return do()
        except SQLAlchemyError as error:
            if not db.is_away(error) or time.monotonic() > until:
                raise
            log.warning("The database is away, trying again: %s", error)
            time.sleep(0.3)


def _forbid_idling(connection: Any, _record: Any) -> None:
    """A worker that is frozen in the middle of a transaction must not hold its locks for longer than a lease."""
    if hasattr(connection, "pgconn"):  # psycopg's; SQLite has no such thing
        connection.execute(f"SET idle_in_transaction_session_timeout = '{get_settings().lease_seconds}s'")
        connection.commit()


def watch_signals() -> None:
    event.listen(Engine, "connect", _forbid_idling)

    @signals.worker_shutting_down.connect(weak=False)
    def _parent_stops(**_: Any) -> None:
        _stop[0] = 1

    parent = os.getpid()

    @signals.worker_process_init.connect(weak=False)
    def _fresh_process(**_: Any) -> None:
        global _boot
        # A solo pool sends this too, from the worker itself: a screening worker is no ingest process.
        if os.getpid() == parent:
            return
        os.nice(INGEST_NICE)
        memory.keep_freed(KEPT_BYTES, MAPPED_FROM, HEAPS)
        _boot = os.urandom(3).hex()
        # The parent's connections are not ours: forget them without closing them.
        db.get_engine().dispose(close=False)
        INGESTING.start()

    @signals.worker_ready.connect(weak=False)
    def _ready(sender: Any, **_: Any) -> None:
        if type(sender.pool).__module__.endswith(".solo"):
            os.nice(SCREENING_NICE)
            memory.keep_freed(KEPT_BYTES, MAPPED_FROM, HEAPS)
            SCREENING.start()
            if not stopping():
                # The first batch should not wait for torch.
                with ends_at_once():
                    importlib.import_module("worker.screen")


@contextmanager
def ends_at_once() -> Iterator[None]:
    """While nothing is in hand: who asks the process to end need not wait for the end of the block."""
    held = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


@contextmanager
def lease(renew: Callable[[], bool]) -> Iterator[threading.Event]:
    """Call `renew` in a thread for as long as the block runs; the event is set once the lease is lost.

    A database that does not answer is not a lost lease: it may come back before the lease runs out, and the
    compare-and-set at the end decides.
    """
    lost, done = threading.Event(), threading.Event()

    def keep() -> None:
        while not done.wait(get_settings().lease_seconds / 3):
            try:
                if not renew():
                    lost.set()
                    return
            except SQLAlchemyError as error:
                log.warning("The lease could not be renewed just now: %s", error)

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()


class Heartbeat:
    """The row in `workers` that tells the system page that this process lives and what it does."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.doing = "waiting for work"
        self.done = 0
        self.last_error: str | None = None
        self.started_at = now()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while True:
            try:
                self.write()
            except SQLAlchemyError as error:
                log.warning("No heartbeat: the database does not answer (%s)", error)
            except Exception:
                # Whatever it was: a thread that ends here would have a living worker counted among the dead.
                log.exception("No heartbeat")
            time.sleep(HEARTBEAT_SECONDS)

    def write(self) -> None:
        with db.write() as session:
            session.merge(
                Worker(
                    name=name(),
                    role=self.role,
                    pid=os.getpid(),
                    doing=self.doing,
                    done=self.done,
                    last_error=self.last_error,
                    started_at=self.started_at,
                    seen_at=db.clock(session),
                )
            )


SCREENING = Heartbeat("screen")
INGESTING = Heartbeat("ingest")
