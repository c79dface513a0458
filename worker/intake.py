"""One slice of an ingest: register, read and hash, skip what is known, decode once, store, commit."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass, field

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cxrscreen import blobs, db, entries, jobs, queue, studies
from cxrscreen.imaging import Member, Prepared, Reason, Rejected, prepare
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Image, Job, Result
from worker import stop

DEATHS_OF_ONE = 3  # a file is set aside after so many workers died while they read it


@dataclass
class Leaf:
    """A member on its way through a slice."""

    member: Member
    entry_id: int = 0
    sha256: str | None = None
    data: bytes | None = None
    refused: Rejected | None = None
    frames: list[Prepared] = field(default_factory=list)
    derivatives: dict[int, str] = field(default_factory=dict)
    known: list[Image] = field(default_factory=list)  # images these bytes became in an earlier job
    twin: int | None = None  # the entry of this job that had the same bytes first


class Slice:
    def __init__(self, job: Job, worker: str, members: list[Member], referred: bool) -> None:
        self.job = job
        self.worker = worker
        self.members = members
        self.referred = referred
        self.store = blobs.store()

    def take_in(self, pool: Executor) -> None:
        """Settle or queue every member. Raises Stopped where the job is no longer ours to work on."""
        leaves = self._register()
        if not leaves:
            return
        try:
            list(pool.map(_load, leaves))
            self._find_known(leaves)
            fresh = [leaf for leaf in leaves if leaf.sha256 and not leaf.refused and leaf.twin is None]
            list(pool.map(self._decode_and_store, fresh))
            made = self._commit(leaves)
        except Exception:
            # Alive, so nobody died with these files: their attempt does not count.
            self._forgive(leaves)
            raise
        for batch_id in made:
            queue.submit(queue.SCREEN, batch_id)

    def _register(self) -> list[Leaf]:
        """Make every member a row that waits, before it is touched; pass by those that are settled."""
        names = [member.name for member in self.members]
        leaves = []
        with db.write() as session:
            if not jobs.hold(session, self.job.id, self.worker):
                raise stop.Stopped
            rows = {
                row.name: row
                for row in session.scalars(
                    select(Entry).where(Entry.job_id == self.job.id, Entry.name.in_(names), Entry.frame == 0)
                )
            }
            for member in self.members:
                row = rows.get(member.name)
                if row is None:
                    row = Entry(job_id=self.job.id, name=member.name, frame=0, frames=1, attempts=0)
                    row.status = EntryStatus.WAITING
                    session.add(row)
                    rows[member.name] = row
                elif row.status != EntryStatus.WAITING or row.image_id is not None:
                    continue
                elif row.attempts >= DEATHS_OF_ONE:
                    detail = f"{row.attempts} workers ended while they read it"
                    entries.reject(session, row, Reason.QUARANTINED, detail, status=EntryStatus.FAILED)
                    continue
                row.attempts += 1
                leaves.append((member, row))
            session.flush()
            return [Leaf(member, entry_id=row.id) for member, row in leaves]

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

    def _decode_and_store(self, leaf: Leaf) -> None:
        assert leaf.data is not None
        if leaf.sha256 == get_settings().deadly_sha256:
            stop.die()
        try:
            if not leaf.known:
                leaf.frames = list(prepare(leaf.data, leaf.member.name))
        except Rejected as refused:
            leaf.refused = refused
            return
        except Exception as error:
            # A decoder that stumbles over one file must not end the others.
            leaf.refused = Rejected(Reason.DAMAGED, f"{type(error).__name__}: {error}")
            return
        for frame in leaf.frames:
            if frame.derivative is not None:
                leaf.derivatives[frame.index] = self.store.put("derivatives", frame.derivative, durable=False)
        if (leaf.derivatives or leaf.known) and not self._refers(leaf):
            self.store.put("originals", leaf.data)
        leaf.data = None

    def _refers(self, leaf: Leaf) -> bool:
        return self.referred and leaf.member.path is not None

    def _commit(self, leaves: list[Leaf]) -> list[int]:
        with db.write() as session:
            if not jobs.hold(session, self.job.id, self.worker, progressed=True):
                raise stop.Stopped
            waiting: list[int] = []
            for leaf in leaves:
                row = session.get_one(Entry, leaf.entry_id)
                row.sha256 = leaf.sha256
                if leaf.refused:
                    entries.reject(session, row, leaf.refused.reason, leaf.refused.detail)
                elif leaf.twin is not None:
                    twin = session.get_one(Entry, leaf.twin)
                    row.status, row.duplicate_of, row.image_id = EntryStatus.DUPLICATE, twin.id, twin.image_id
                else:
                    waiting += self._accept(session, leaf, row)
            scored = self._scored_before(session, waiting)
            fresh = [entry_id for entry_id in waiting if entry_id not in scored]
            return entries.cut_batches(session, self.job.id, fresh, get_settings().batch_size)

    def _accept(self, session: Session, leaf: Leaf, row: Entry) -> list[int]:
        """Rows for the frames of an accepted file; answers the entries that want a score."""
        path = str(leaf.member.path) if self._refers(leaf) else None
        images = {image.frame: image.id for image in leaf.known}
        if leaf.known and path is None:
            # The bytes are in the store now; a folder file they once stood for is no longer needed.
            session.execute(update(Image).where(Image.sha256 == leaf.sha256).values(path=None))
        count = len(leaf.frames) or len(images)
        wanted = []
        for index in range(count):
            entry = row
            if index:
                entry = Entry(job_id=row.job_id, name=row.name, frame=index, attempts=0, sha256=row.sha256)
                entry.status = EntryStatus.WAITING
                session.add(entry)
            entry.frames = count
            if leaf.frames and (refused := leaf.frames[index].refused):
                entries.reject(session, entry, refused.reason, refused.detail)
                continue
            if leaf.frames:
                entry.image_id = self._add_image(session, leaf, leaf.frames[index], path)
            else:
                entry.image_id = images[index]
            session.flush()
            wanted.append(entry.id)
        return wanted

    def _add_image(self, session: Session, leaf: Leaf, frame: Prepared, path: str | None) -> int:
        assert leaf.sha256 is not None and frame.facts is not None
        insert = db.insert_for(session, Image).values(
            study_id=studies.keep(session, frame.facts, leaf.sha256, leaf.member.name),
            sha256=leaf.sha256,
            frame=frame.index,
            frames=frame.count,
            name=leaf.member.name,
            path=path,
            derivative=leaf.derivatives[frame.index],
            width=frame.facts.width,
            height=frame.facts.height,
            facts=frame.facts.public(),
        )
        # Two jobs may bring the same file at once; the later one takes the row of the earlier.
        session.execute(insert.on_conflict_do_nothing(index_elements=["sha256", "frame"]))
        return session.execute(
            select(Image.id).where(Image.sha256 == leaf.sha256, Image.frame == frame.index)
        ).scalar_one()

    def _scored_before(self, session: Session, entry_ids: list[int]) -> set[int]:
        """Entries whose image this model version has scored in an earlier job: that result is used again."""
        done = select(Result.image_id).where(Result.model_version_id == self.job.model_version_id)
        return set(
            session.scalars(
                update(Entry)
                .where(Entry.id.in_(entry_ids), Entry.image_id.in_(done))
                .values(status=EntryStatus.SCORED)
                .returning(Entry.id)
            )
        )

    def _forgive(self, leaves: list[Leaf]) -> None:
        with db.write() as session:
            session.execute(
                update(Entry)
                .where(Entry.id.in_([leaf.entry_id for leaf in leaves]))
                .values(attempts=Entry.attempts - 1)
            )


def _load(leaf: Leaf) -> None:
    """Read and hash. What the walk refused, and what cannot be read, ends here with its reason."""
    try:
        leaf.data = leaf.member.read()
    except Rejected as refused:
        leaf.refused = refused
    else:
        leaf.sha256 = hashlib.sha256(leaf.data).hexdigest()
