"""What an ingest carries from a source towards its rows: a file on its way, and the place it comes from."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from cxrscreen.arrivals import Arrivals
from cxrscreen.imaging import Member, Prepared, Rejected
from cxrscreen.sources import Source
from cxrscreen.tables import Image, Job
from worker.trial import Trial


@dataclass
class Leaf:
    """A member on its way through a slice."""

    member: Member
    entry_id: int
    sha256: str | None = None
    data: bytes | None = None
    refused: Rejected | None = None
    frames: list[Prepared] = field(default_factory=list)
    derivatives: dict[int, str] = field(default_factory=dict)
    known: list[Image] = field(default_factory=list)  # images these bytes became in an earlier job
    twin: int | None = None  # the entry of this job that had the same bytes first
    again: bool = False  # its entry was there before this slice
    suspect: bool = False  # somebody may have died with it in hand

    def let_go(self) -> None:
        """Of what is written already, or never will be."""
        self.data = None
        self.frames = [replace(frame, derivative=None) for frame in self.frames]


@dataclass(frozen=True)
class Place:
    """Where the members of a slice come from, and who takes them in."""

    job: Job
    worker: str
    source: Source
    referred: bool  # files stay where they are; else their bytes are copied
    readers: Executor
    writers: Executor
    trial: Trial
    seen: Arrivals | None = None  # of a watched folder

    def keeps(self, leaf: Leaf) -> bool:
        """Its bytes are in the store, or have to be."""
        return bool(leaf.derivatives or leaf.known) and self.path(leaf) is None

    def path(self, leaf: Leaf) -> str | None:
        """Of a file that is referred to where it lies; None where its bytes are kept in the store."""
        if not self.referred:
            return None
        path = str(leaf.member.path) if leaf.member.path is not None else leaf.member.url
        return path if path is not None and _is_text(path) else None


def _is_text(path: str) -> bool:
    """Whether a database takes it: a name may hold bytes that no text stands for."""
    try:
        return bool(path.encode())
    except UnicodeEncodeError:
        return False


def load(leaf: Leaf) -> None:
    """Read and hash. What the walk refused, and what cannot be read, ends here with its reason."""
    try:
        leaf.data = leaf.member.read()
    except Rejected as refused:
        leaf.refused = refused.bare()
    else:
        leaf.member = replace(leaf.member, data=None)  # the leaf lets go of its bytes once they are written
        leaf.sha256 = hashlib.sha256(leaf.data).hexdigest()
