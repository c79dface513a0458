"""Every leaf file of a folder, an archive, or an archive in an archive: nothing vanishes, one in memory at a time."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO

from cxrscreen.imaging import sevens, tars, zips
from cxrscreen.imaging.contents import Found
from cxrscreen.imaging.names import Distinct, inside, joined, tidy
from cxrscreen.imaging.packing import CHUNK, FREE_BYTES, PACKED, Cut, Unpacked
from cxrscreen.imaging.reasons import Reason, Rejected
from cxrscreen.imaging.strangers import TAIL, misnamed

HEAD = 512
# A member may always unpack to so much, whatever its ratio.
FREE_MEMBER_BYTES = 1 << 20
SPOOL_BYTES = 8 << 20
EMPTY_TAR = 1 << 20

_UNSUPPORTED = {
    **{b"Rar!\x1a\x07": "RAR", b"MSCF": "CAB", b"PK\x07\x08": "Multi-volume zip", b"\x1f\x9d": "Compress (.Z)"},
    **{b"070701": "Cpio", b"070707": "Cpio", b"LZIP": "Lzip", b"\x04\x22\x4d\x18": "LZ4", b"xar!": "Xar"},
    b"]\0\0\x80\0": "LZMA",  # the preset of 8 MB, of files that are older than xz
}
_ARCHIVE_NAMES = (
    *(".zip", ".7z", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst"),
    *(".gz", ".bz2", ".xz", ".zst"),
)


@dataclass(frozen=True)
class Limits:
    """What an archive may ask of us; `max_bytes` and `max_entries` count what is in archives within it too."""

    max_entry_bytes: int = 512 << 20
    max_entries: int = 5_000_000
    max_ratio: int = 200
    max_bytes: int = 1 << 40
    max_depth: int = 3


@dataclass(frozen=True)
class File:
    """What a walk came to, before it is opened: a file, an object of a store, or why there is none to open."""

    name: str
    place: str  # its path or URL; of a link, where the link stands
    stamp: str = ""  # another one as soon as the file is another
    changed: float | None = None  # when, in seconds; None for what appears whole
    size: int = 0
    path: Path | None = None  # what is opened; of a link, where it leads
    refused: Rejected | None = None


@dataclass(frozen=True)
class Member:
    """One entry: a file on disk (`path`), an object of a store (`url`, `fetch`), an archive's member (`data`), or what
    cannot be had (`refused`)."""

    name: str
    size: int | None = None
    path: Path | None = None
    data: bytes | None = None
    refused: Rejected | None = None
    max_bytes: int = field(default=Limits.max_entry_bytes, repr=False)
    url: str | None = None
    fetch: Callable[[int], bytes] | None = field(default=None, repr=False)
    file: File | None = field(default=None, repr=False)  # of the walk, that it is or stands in

    def read(self) -> bytes:
        """The bytes. Raises Rejected where there are none to be had, or more than the limit by now; what `fetch` raises
        besides is about the store."""
        if self.refused:
            raise self.refused
        if self.data is not None:
            return self.data
        if self.fetch is not None:
            data = self.fetch(self.max_bytes + 1)
            if len(data) > self.max_bytes:
                raise Rejected(Reason.TOO_LARGE)
            return data
        assert self.path is not None
        try:
            with open_plain(self.path) as file:
                # Room for what there is: room for what is allowed would be the kernel's, page by page, for each file.
                room = min(self.max_bytes, os.fstat(file.fileno()).st_size) + 1
                data = file.read(room)
                if len(data) == room:  # it grew
                    data += file.read(self.max_bytes + 1 - room)
        except OSError as error:
            raise Rejected(Reason.UNREADABLE, f"{error.strerror or error}.") from error
        if len(data) > self.max_bytes:
            raise Rejected(Reason.TOO_LARGE)
        return data


@dataclass
class Account:
    """What the members of an archive came to so far, those of archives within it included.

    An archive within another has one of its own, so that a bomb ends itself before it has used up what the outer may
    unpack to: the rest of the outer goes on.
    """

    limits: Limits
    packed: int
    outer: Account | None = None
    entries: int = 0
    bytes: int = 0
    names: Distinct = field(default_factory=Distinct)  # one for all of a file on disk

    def within(self, packed: int) -> Account:
        return Account(self.limits, packed, self, names=self.names)

    def count(self) -> None:
        self.entries += 1
        if self.entries > self.limits.max_entries:
            raise Cut(Reason.ARCHIVE_TOO_MANY, f"More than {self.limits.max_entries:,} members.")
        if self.outer:
            self.outer.count()

    def add(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.limits.max_bytes:
            raise Cut(Reason.BOMB, f"It unpacks to more than {self.limits.max_bytes:,} bytes.")
        if self.bytes > max(FREE_BYTES, self.limits.max_ratio * self.packed):
            raise Cut(Reason.BOMB, f"{self.packed:,} bytes unpack to more than {self.bytes:,}.")
        if self.outer:
            self.outer.add(size)


def file_members(path: Path, name: str, limits: Limits) -> Iterator[Member]:
    """A regular file on disk: itself, or its members where its content is an archive. `path` is no link."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEAD)
            if is_archive(head):
                file.seek(0)
                yield from _members(file, name, Account(limits, size), 1)
                return
            refused = not_to_be_read(name, size, limits)
            if refused and refused.reason == Reason.ARCHIVE_DAMAGED:
                file.seek(max(0, size - TAIL))
                refused = misnamed(file.read(TAIL))
    except OSError as error:
        yield Member(name, refused=Rejected(Reason.UNREADABLE, f"{error.strerror or error}."))
        return
    yield Member(name, size, None if refused else path, refused=refused, max_bytes=limits.max_entry_bytes)


def not_to_be_read(name: str, size: int, limits: Limits) -> Rejected | None:
    """Why a file whose content is no archive is not read, where it is not."""
    if size > limits.max_entry_bytes:
        return _too_large(limits)
    return misnamed(b"") if size and name.lower().endswith(_ARCHIVE_NAMES) else None


def open_plain(path: Path) -> IO[bytes]:
    """Open a regular file; OSError for anything else, also where a link or a pipe took its place meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path.name} is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _members(stream: IO[bytes], name: str, account: Account, depth: int) -> Iterator[Member]:
    """The members of an archive; the archive itself, refused, where it cannot be read to its end or is empty."""
    try:
        if depth > account.limits.max_depth:
            raise Cut(Reason.ARCHIVE_TOO_DEEP)
        for found in _contents(stream, name, account.limits):
            account.count()
            yield from _member(found, name, account, depth)
        if not account.entries:
            raise Cut(Reason.NO_IMAGE, "The archive has no files.")
    except Cut as cut:
        yield Member(name, refused=Rejected(cut.reason, cut.detail))


def _contents(stream: IO[bytes], name: str, limits: Limits) -> Iterator[Found]:
    head = stream.read(HEAD)
    stream.seek(0)
    if head.startswith(zips.MAGIC):
        return zips.contents(stream)
    if head.startswith(sevens.MAGIC):
        return sevens.contents(stream, limits.max_ratio)
    for magic, kind in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise Cut(Reason.ARCHIVE_UNSUPPORTED, f"{kind} archives are not read.")
    for magic, kind in PACKED.items():
        if head.startswith(magic):
            unpacked = Unpacked(stream, kind, limits.max_ratio)
            start = unpacked.peek(HEAD)
            if tars.is_tar(start) or (start == bytes(HEAD) and _is_end_mark(unpacked.peek(EMPTY_TAR))):
                return tars.contents(unpacked)
            return iter([_single(unpacked, name)])
    return tars.contents(stream)


def _is_end_mark(start: bytes) -> bool:
    """An empty tar is its end mark, padded to a record; a packed volume may begin with as many zeros."""
    return len(start) < EMPTY_TAR and not start.strip(b"\0")


def _single(unpacked: Unpacked, name: str) -> Found:
    """The one file in a .gz, .bz2, .xz or .zst that is no tar, named like it without the ending."""
    base = name.rsplit("/", 1)[-1]
    stem, _, ending = base.rpartition(".")
    inner = stem if stem and f".{ending.lower()}" in _ARCHIVE_NAMES else base
    return Found(inner, None, None, None, lambda: iter(lambda: unpacked.read(CHUNK), b""))


def _member(found: Found, archive: str, account: Account, depth: int) -> Iterator[Member]:
    limits = account.limits
    try:
        name, unsafe = joined(archive, inside(found.name)), None
    except Rejected as refused:
        name, unsafe = joined(archive, tidy(found.name)), refused
    name = account.names.name(name)
    try:
        if why := unsafe or found.refused:
            raise why
        pieces = _watched(found, account)
        start = b""
        for piece in pieces:
            start += piece
            if len(start) >= HEAD:
                break
        if is_archive(start):
            yield from _nested(chain([start], pieces), name, account, depth)
            return
        data = BytesIO()
        for piece in chain([start], pieces):
            if data.tell() + len(piece) > limits.max_entry_bytes:
                raise _too_large(limits)
            data.write(piece)
        if start and name.lower().endswith(_ARCHIVE_NAMES):
            raise misnamed(data.getvalue()[-TAIL:])
    except Cut:
        raise
    except Rejected as refused:
        yield Member(name, found.size, refused=refused.bare())
        return
    content = data.getvalue()
    yield Member(name, len(content), data=content, max_bytes=limits.max_entry_bytes)


def _nested(pieces: Iterator[bytes], name: str, account: Account, depth: int) -> Iterator[Member]:
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        if depth < account.limits.max_depth:
            for piece in pieces:
                spool.write(piece)
        packed = spool.tell()
        spool.seek(0)
        yield from _members(spool, name, account.within(packed), depth + 1)


def _watched(found: Found, account: Account) -> Iterator[bytes]:
    """The pieces of a member, as long as it stays within what the limits allow."""
    size = 0
    most = None if found.packed is None else max(FREE_MEMBER_BYTES, account.limits.max_ratio * found.packed)
    for piece in found.pieces():
        size += len(piece)
        if most is not None and size > most:
            raise Rejected(Reason.BOMB, f"{found.packed:,} bytes unpack to more than {size:,}.")
        account.add(len(piece))
        yield piece


def is_archive(head: bytes) -> bool:
    """Told by the first HEAD bytes."""
    if head[128:132] == b"DICM":
        return False
    return head.startswith((*zips.MAGIC, sevens.MAGIC, *PACKED, *_UNSUPPORTED)) or tars.is_tar(head)


def _too_large(limits: Limits) -> Rejected:
    return Rejected(Reason.TOO_LARGE, f"Files over {limits.max_entry_bytes / 2**20:,.0f} MB are not read.")
