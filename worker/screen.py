"""Screening: claim a batch, decode its derivatives while the network runs, write its answers in one transaction."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cxrscreen import batches, db, jobs
from cxrscreen.batches import Answer, Work
from cxrscreen.errors import BundleDamaged
from cxrscreen.imaging import Reason
from cxrscreen.settings import get_settings
from worker import decoders, look
from worker.runtime import SCREENING, lease, name, patiently, stopping

log = logging.getLogger(__name__)

STORE_PAUSE_SECONDS = 5.0
# A sweep waits no longer than this for a worker that is never idle.
TURN_SECONDS = 5.0


@dataclass
class Hand:
    """A batch in hand: its lease, and its pictures once they are being read."""

    work: Work
    lost: threading.Event
    holding: ExitStack
    begun: look.Begun | None = None


class Turn:
    """Batch after batch; while one is computed, the one before is written, and the next one claimed and read.

    A batch that a worker died with before is screened with nothing else in hand, so that a deadly image costs no
    neighbour more than one death.
    """

    def __init__(self) -> None:
        self.me = name()
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self.claimer = ThreadPoolExecutor(1, thread_name_prefix="claim")
        self.written: Future[None] | None = None
        self.next: Future[Hand | None] | None = None

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._settle()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        try:
            if (hand := self._claimed()) is not None:
                with hand.holding:
                    if hand.begun:
                        hand.begun.reading.drop()
                    self._let_go(hand.work.batch_id, batches.release)
        finally:
            self.writer.shutdown()
            self.claimer.shutdown()

    def one(self, *, more: bool = False) -> bool:
        """Screen the most urgent batch; False where none is due or nothing could be done.

        With `more` another one is claimed meanwhile, which the next call takes; at the end it is given back.
        """
        hand = self._claimed() or self._take()
        if hand is None:
            return False
        work, holding = hand.work, hand.holding
        SCREENING.doing = f"job {work.job_id}, batch {work.batch_id}: {len(work.images)} images"
        done = False
        with holding, self._excused(work):
            if work.deaths:
                self._settle()
            begun = hand.begun or look.begin(work)
            assert begun is not None  # that is for what is begun beside another
            if more and not work.deaths:
                self.next = self.claimer.submit(self._take, begun)
            answers = look.answer(begun)
            self._settle()
            self.written = self.writer.submit(self._write, work, answers, hand.lost, holding.pop_all())
            done = True
        if work.deaths:
            self._settle()
        return done

    @property
    def holds(self) -> bool:
        """Whether a batch may be in hand that is not computed yet."""
        return self.next is not None

    def _claimed(self) -> Hand | None:
        waiting, self.next = self.next, None
        return waiting.result() if waiting is not None else None

    def _take(self, beside: look.Begun | None = None) -> Hand | None:
        """Claim a batch and hold its lease. `beside` one that is computed: only one that nobody died with, and it is
        read at once."""
        work = patiently(lambda: self._claim(untried=beside is not None))
        if work is None:
            return None
        holding = ExitStack()
        lost = holding.enter_context(lease(lambda: _renew(work, self.me)))
        hand = Hand(work, lost, holding)
        if beside is not None:
            try:
                hand.begun = look.begin(work, beside)
            except Exception:
                log.exception("Batch %s is begun again when its turn has come", work.batch_id)
        return hand

    def _claim(self, *, untried: bool) -> Work | None:
        # A claim whose answer is lost lapses, and counts as a death at most once.
        with db.write() as session:
            return batches.claim(session, self.me, untried=untried)

    def _settle(self) -> None:
        """Wait until the batch before is written."""
        written, self.written = self.written, None
        if written is not None:
            written.result()

    def _write(self, work: Work, answers: list[Answer], lost: threading.Event, holding: ExitStack) -> None:
        with holding, self._excused(work):
            if not lost.is_set():
                patiently(lambda: self._finish(work, answers))
            SCREENING.done += 1

    def _finish(self, work: Work, answers: list[Answer]) -> None:
        # Twice is harmless: where the first commit stood although its answer was lost, the batch is held no more.
        with db.write() as session:
            batches.finish(session, work, self.me, answers)

    def _let_go(self, batch_id: int, how: Callable[[Session, int, str], None]) -> None:
        def write() -> None:
            with db.write() as session:
                how(session, batch_id, self.me)

        patiently(write)

    @contextmanager
    def _excused(self, work: Work) -> Iterator[None]:
        """What goes wrong with a batch ends here, and the batch is told so."""
        try:
            yield
        except BundleDamaged as error:
            SCREENING.last_error = str(error)
            with db.write() as session:
                batches.release(session, work.batch_id, self.me)
                jobs.fail(session, work.job_id, str(error), Reason.INTERNAL)
        except Exception as error:
            SCREENING.last_error = f"{type(error).__name__}: {error}"
            if isinstance(error, BrokenExecutor):
                decoders.end()  # new ones are made for the next batch
            if isinstance(error, OSError | look.NotFit) or (isinstance(error, SQLAlchemyError) and db.is_away(error)):
                # The store, the database or the graphics card is away. The worker lives, so this is no death: the batch
                # goes back whole.
                log.exception("Batch %s waits", work.batch_id)
                time.sleep(STORE_PAUSE_SECONDS)
                self._let_go(work.batch_id, batches.release)
            else:
                # Nothing we foresaw, an answer that the database refuses among it. Tried again in halves, as after a
                # death, it ends in quarantine if it stays so.
                log.exception("Batch %s failed", work.batch_id)
                self._let_go(work.batch_id, batches.give_up)


def run() -> None:
    """Screen what is due, for a turn: sweeps and other messages want this process too."""
    until = time.monotonic() + TURN_SECONDS

    def more() -> bool:
        return time.monotonic() < until and not stopping()

    try:
        with Turn() as turn:
            going = turn.one(more=more())
            if not going:
                look.prepare()
            while going and (turn.holds or more()) and not stopping():
                going = turn.one(more=more())
    finally:
        SCREENING.doing = "waiting for work"
    if SCREENING.done >= get_settings().batches_per_process:
        # Celery's max-tasks-per-child does nothing in the solo pool; the supervisor starts a fresh process.
        os.kill(os.getpid(), signal.SIGTERM)


def _renew(work: Work, me: str) -> bool:
    with db.write() as session:
        return batches.renew(session, work.batch_id, me)
