"""One slice of an ingest: register, read and hash, skip what is known, decode once, store, commit."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, wait
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from cxrscreen import blobs, db, entries, ingests, jobs, orphans, queue
from cxrscreen.imaging import Member, Reason, Rejected
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Image, now
from worker import accepted, runtime, stop, trial
from worker.leaves import Leaf, Place, load

log = logging.getLogger(__name__)

# A source that goes away while it is read is waited for through so many claims.
SOURCE_TRIES = 60
# Slices of few large files are committed together, but what was begun longer ago waits for no further one: screening
# wants it, and a kill should cost little.
TOGETHER_SECONDS = 2.0


class SourceAway(OSError):
    """A folder that was being read is gone as a whole (a share that is not mounted)."""


class Slice:
    """Some members of a job's sources, taken in together.

    `begin`, `decode`, `decode_twins` and `commit` come in this order; between them the pools work, so that one slice is
    read and decoded while the one before it is decoded and written. Instead of being committed a slice may be carried
    by the one after it: how many files are in memory at once says nothing of how many belong into a transaction.
    """

    def __init__(self, place: Place, members: list[Member]) -> None:
        self.place = place
        self.job, self.worker = place.job, place.worker
        self.members = members
        self.store = blobs.store()
        self.since = time.monotonic()
        self.began_at: datetime = now()
        self.leaves: list[Leaf] = []
        self.twins: list[Leaf] = []
        self.work: list[Future[None]] = []
        self.writes: list[Future[None]] = []

    def begin(self) -> None:
        """Register every member and set the pool to read and hash. Raises Stopped where the job is no longer ours."""
        self._expect_source([member.refused for member in self.members if member.refused])
        self.leaves = self._register()
        self.members.clear()  # whoever cut this list holds it while the next one is cut
        self.work = [self.place.readers.submit(load, leaf) for leaf in self.leaves]

    def decode(self, before: Slice | None = None) -> None:
        """Find out what is known already, and set the pool to decode and store the rest.

        Of bytes that the slice `before` holds too, its commit has to tell: they wait for `decode_twins`.
        """
        self._wait()
        held = {leaf.sha256 for leaf in before.leaves} if before else set()
        self.twins = [leaf for leaf in self.leaves if leaf.sha256 in held]
        self._decode_unknown([leaf for leaf in self.leaves if leaf.sha256 not in held])

    def decode_twins(self) -> None:
        """The same of what had to wait, once the slice before is committed."""
        self._decode_unknown(self.twins)

    def carry(self, before: Slice) -> bool:
        """Take over the slice before once its files are written, where both are no more than a batch; False if not.

        Nothing of it is in memory any more then, and its commit is this one's.
        """
        together = len(before.leaves) + len(self.leaves)
        if together > get_settings().batch_size or time.monotonic() - before.since > TOGETHER_SECONDS:
            return False
        before._wait()
        before._expect_source([leaf.refused for leaf in before.leaves if leaf.refused])
        first = {leaf.sha256: leaf.twin or leaf.entry_id for leaf in reversed(before.leaves)}
        for leaf in self.twins:
            leaf.twin = first[leaf.sha256]
        for leaf in (*before.leaves, *self.twins):
            leaf.let_go()  # a duplicate, or what was refused, still has its bytes
        self.twins = []
        self.leaves = before.leaves + self.leaves
        self.began_at, self.since = before.began_at, before.since
        before.leaves = []
        return True

    def _decode_unknown(self, leaves: list[Leaf]) -> None:
        if not leaves:
            return
        self._find_known(leaves)
        fresh = [leaf for leaf in leaves if leaf.sha256 and not leaf.refused and leaf.twin is None]
        self.work += [self.place.readers.submit(self._decode, leaf) for leaf in fresh]

    def commit(self) -> None:
        """Settle or queue every member, and wake the screening workers.

        Raises SourceAway, StoreAway, BlobGone and what the database says; the slice is to be forgiven then.
        """
        self._wait()
        self._expect_source([leaf.refused for leaf in self.leaves if leaf.refused])
        made = self._settle(self.leaves) if self.leaves else []
        self.leaves = []
        for batch_id in made:
            queue.submit(queue.SCREEN, batch_id)

    def forgive(self) -> None:
        """Drop the work. We are alive, so nobody died with these files: their attempt does not count."""
        for futures in (self.work, self.writes):  # in this order: who decodes orders what is written
            for future in futures:
                future.cancel()
            wait(futures)
        ids = [leaf.entry_id for leaf in self.leaves]
        self.leaves = []
        if not ids:
            return

        def write() -> None:
            with db.write() as session:
                jobs.hold_alone(session, self.job.id)  # whoever tries again has the same entries in hand
                session.execute(
                    update(Entry).where(Entry.id.in_(ids), Entry.attempts > 0).values(attempts=Entry.attempts - 1)
                )

        runtime.patiently(write)

    def _wait(self) -> None:
        for futures in (self.work, self.writes):
            for future in futures:
                future.result()
            futures.clear()

    def _expect_source(self, refused: list[Rejected]) -> None:
        """Files that cannot be read because the whole source is gone are not rejected: it may come back."""
        unreadable = any(each.reason == Reason.UNREADABLE for each in refused)
        if not unreadable or self.place.source.exists() or self.job.attempts > SOURCE_TRIES:
            return
        with db.read() as session:
            mine = [leaf.entry_id for leaf in self.leaves]
            others = select(Entry.id).where(Entry.job_id == self.job.id, Entry.id.not_in(mine))
            begun = session.scalar(others.limit(1))
        # A source that never was there is an entry with its reason.
        if begun is not None:
            raise SourceAway("The source is gone while it is read.")

    def _register(self) -> list[Leaf]:
        """Make every member a row that waits, before it is touched; pass by those that are settled."""
        members = {member.name: member for member in self.members}
        with db.write() as session:
            if not ingests.hold(session, self.job.id, self.worker):
                raise stop.Stopped
            self.began_at = db.clock(session)
            rows = session.scalars(
                select(Entry).where(Entry.job_id == self.job.id, Entry.name.in_(members), Entry.frame == 0)
            ).all()
            begun = {}
            for row in rows:
                if row.status != EntryStatus.WAITING or row.image_id is not None:
                    continue
                begun[row.name] = Leaf(members[row.name], row.id, again=True, suspect=row.attempts > 0)
                row.attempts += 1
            seen = {row.name for row in rows}
            fresh = [
                {"job_id": self.job.id, "name": name, "status": EntryStatus.WAITING, "attempts": 1}
                for name in members
                if name not in seen
            ]
            if fresh:
                ordered = insert(Entry).returning(Entry.name, Entry.id, sort_by_parameter_order=True)
                begun |= {row.name: Leaf(members[row.name], row.id) for row in session.execute(ordered, fresh)}
            # In the order of the walk, which is the order in which twins are told apart.
            return [begun[name] for name in members if name in begun]

    def _find_known(self, leaves: list[Leaf]) -> None:
        hashes = {leaf.sha256 for leaf in leaves if leaf.sha256}
        with db.read() as session:
            first = {
                row.sha256: row.id
                for row in session.execute(
                    select(Entry.sha256, Entry.id)
                    .where(
                        Entry.job_id == self.job.id,
                        Entry.sha256.in_(hashes),
                        Entry.frame == 0,
                        Entry.status != EntryStatus.DUPLICATE,
                    )
                    .order_by(Entry.id.desc())
                )
            }
            images: dict[str, list[Image]] = {}
            for image in session.scalars(
                select(Image).where(Image.sha256.in_(hashes)).order_by(Image.sha256, Image.frame)
            ):
                images.setdefault(image.sha256, []).append(image)
        for leaf in leaves:
            if leaf.sha256 is None:
                continue
            earlier = first.setdefault(leaf.sha256, leaf.entry_id)
            leaf.twin = earlier if earlier != leaf.entry_id else None
            known = images.get(leaf.sha256, [])
            # Where a frame was refused before, the file is read again: its reason is said again with it.
            leaf.known = known if known and len(known) == known[0].frames else []

    def _decode(self, leaf: Leaf) -> None:
        assert leaf.data is not None
        if not leaf.known:
            read = self.place.trial.read if leaf.suspect else trial.read
            try:
                leaf.frames = read(leaf.data, leaf.member.name)
            except Rejected as refused:
                leaf.refused = refused.bare()
                return
        self.writes.append(self.place.writers.submit(self._write, leaf))

    def _write(self, leaf: Leaf) -> None:
        assert leaf.data is not None
        self.store.require()
        for frame in leaf.frames:
            if frame.derivative is not None:
                leaf.derivatives[frame.index] = self.store.put("derivatives", frame.derivative, durable=False)
        if self.place.keeps(leaf):
            self.store.put("originals", leaf.data, sha256=leaf.sha256 or "")
        leaf.let_go()

    def _settle(self, leaves: list[Leaf]) -> list[int]:
        """`_commit`; where that stumbles over one of the files, that one fails alone and nothing waits for ever."""
        try:
            return self._commit(leaves)
        except (stop.Stopped, OSError):
            raise
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and db.is_away(error):
                raise
            if len(leaves) > 1:
                return [batch_id for leaf in leaves for batch_id in self._settle([leaf])]
            if _failed(leaves[0]):
                raise
            log.exception("Entry %s cannot be written", leaves[0].entry_id)
            leaves[0].refused = Rejected(Reason.INTERNAL, f"{type(error).__name__} while its rows were written.")
            return self._settle(leaves)

    def _commit(self, leaves: list[Leaf]) -> list[int]:
        with db.write() as session:
            if not ingests.hold(session, self.job.id, self.worker, progressed=True):
                raise stop.Stopped
            found = session.scalars(select(Entry).where(Entry.id.in_([leaf.entry_id for leaf in leaves])))
            rows = {row.id: row for row in found}
            taken: list[tuple[Leaf, Entry]] = []
            for leaf in leaves:
                row = rows[leaf.entry_id]
                row.sha256 = leaf.sha256
                if leaf.refused:
                    reason, detail = leaf.refused.reason, leaf.refused.detail
                    status = EntryStatus.FAILED if _failed(leaf) else EntryStatus.REJECTED
                    entries.reject(session, row, reason, detail, status=status)
                elif leaf.twin is not None:
                    row.status, row.duplicate_of = EntryStatus.DUPLICATE, leaf.twin
                else:
                    taken.append((leaf, row))
            kept = [leaf for leaf, _ in taken]
            stored = [("originals", leaf.sha256) for leaf in kept if leaf.sha256 and self.place.keeps(leaf)]
            stored += [("derivatives", name) for leaf in kept for name in leaf.derivatives.values()]
            if self.place.seen is not None:
                self.place.seen.take(session, [(leaf.member.file, leaf.refused) for leaf in leaves])
            accepted.expect_known(session, kept)
            waiting = accepted.accept(session, self.place, taken)
            session.flush()
            accepted.point_at_twins(session, leaves, rows)
            accepted.lead_twins(session, self.job.id, [leaf for leaf in kept if leaf.again], rows)
            scored: set[int] = set()
            if any(leaf.known for leaf in leaves):
                scored = accepted.scored_before(session, self.job.model_version_id, waiting)
            fresh = [entry_id for entry_id in waiting if entry_id not in scored]
            # After the rows that are held: whoever deletes a study holds it first, too, and then condemns its blobs.
            orphans.pardon(session, stored, self.began_at)
            return entries.cut_batches(session, self.job.id, fresh, get_settings().batch_size)


def _failed(leaf: Leaf) -> bool:
    """Our fault, not the input's: what ends the processes that read it should have been refused."""
    return leaf.refused is not None and leaf.refused.reason in (Reason.QUARANTINED, Reason.INTERNAL)
