"""Tar archives, plain or unpacked on the way, member by member."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, Any, cast

from cxrscreen.imaging.contents import Found
from cxrscreen.imaging.packing import CHUNK, Cut, Unpacked
from cxrscreen.imaging.reasons import Reason, Rejected, first_line

BLOCK = tarfile.BLOCKSIZE
# Long names and pax headers are read whole; no writer makes larger ones.
MAX_HEADER = 1 << 20
# All headers of one member; a map of holes may go on for ever, each hole an object.
MAX_HEADERS = 4 << 20


def is_tar(head: bytes) -> bool:
    """Whether a file's first block is a member's header, by its checksum; old tars have no magic."""
    if len(head) < BLOCK or not head[0]:
        return False
    field = head[148:156]
    try:
        stated = int(field.strip(b" \0"), 8)
    except ValueError:
        return False
    return stated == sum(head[:BLOCK]) - sum(field) + 8 * ord(" ")


def contents(stream: IO[bytes] | Unpacked) -> Iterator[Found]:
    """The members in order. Raises Cut where the archive is damaged or ends without its end mark."""
    source = _Forward(stream)
    try:
        with tarfile.open(fileobj=cast(Any, source), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            while (member := source.next_of(archive)) is not None:
                cast(Any, archive).members.clear()  # tarfile keeps every member it has seen
                if not member.isdir():
                    yield _found(source, member)
    except (Cut, OSError):
        raise
    except Exception as error:
        # What it raises besides its own errors, of any kind, tells of its code, not of the archive.
        why = f" ({first_line(error)})" if isinstance(error, tarfile.TarError) else ""
        raise Cut(Reason.ARCHIVE_DAMAGED, f"The tar is damaged or cut short{why}.") from error
    if source.last.strip(b"\0") or len(source.last) < BLOCK:
        # tarfile takes a missing end, or a header it cannot read, for the end.
        raise Cut(Reason.ARCHIVE_DAMAGED, "The tar ends without its end mark: it is cut short or damaged.")
    while piece := stream.read(CHUNK):
        if piece.strip(b"\0"):
            # A header of zeros reads as the end mark; so does the end of the first of two tars in one file.
            raise Cut(Reason.ARCHIVE_DAMAGED, "The tar goes on behind its end mark; what stands there was not read.")


def _found(source: _Forward, member: tarfile.TarInfo) -> Found:
    refused = None
    if not member.isreg():
        refused = Rejected(Reason.LINK)
    elif member.issparse():
        refused = Rejected(Reason.ARCHIVE_UNSUPPORTED, "A sparse file.")
    return Found(member.name, member.size, None, refused, lambda: _pieces(source, member))


def _pieces(source: _Forward, member: tarfile.TarInfo) -> Iterator[bytes]:
    source.seek(member.offset_data)
    left = member.size
    while left > 0:
        piece = source.take(min(CHUNK, left))
        if not piece:
            raise Cut(Reason.ARCHIVE_DAMAGED, "The tar ends in the middle of a member.")
        left -= len(piece)
        yield piece


class _Forward:
    """A file for tarfile that refuses what only a hostile archive asks for: going back, and headers of gigabytes."""

    def __init__(self, stream: IO[bytes] | Unpacked) -> None:
        self._stream = stream
        self._headers = 0  # bytes of them since the last member
        self.last = b""  # the block read last, which tells a true end from a cut

    def next_of(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        self._headers = 0
        return archive.next()

    def read(self, size: int) -> bytes:
        self._headers += max(0, size)
        if not 0 <= size <= MAX_HEADER or self._headers > MAX_HEADERS:
            raise Cut(Reason.ARCHIVE_DAMAGED, "The tar has a header of an absurd size.")
        return self.take(size)

    def take(self, size: int) -> bytes:
        self.last = self._stream.read(size)
        return self.last

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int) -> None:
        if position < self._stream.tell():
            raise Cut(Reason.ARCHIVE_DAMAGED, "The tar's headers point backwards.")
        self._stream.seek(position)
