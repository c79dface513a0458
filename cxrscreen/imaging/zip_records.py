"""The directory of a zip archive (APPNOTE 6.3, 4.3), read as a stream: records, zip64, and what names they mean."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from cxrscreen.imaging.packing import Cut
from cxrscreen.imaging.reasons import Reason

LOCAL = b"PK\x03\x04"
_CENTRAL, _END, _END64, _END64_AT = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_UTF8 = 0x800
_FULL = 0xFFFFFFFF
_ZIP64, _UNICODE_NAME = 0x0001, 0x7075
# Letters of Russian in the PC's code page for it; cp437 has accents, line drawings and Greek in their places.
_CYRILLIC = re.compile(r"[А-Яа-яЁё]")
_MIXED = re.compile(r"[A-Za-z][А-Яа-яЁё]|[А-Яа-яЁё][A-Za-z]")


@dataclass(frozen=True)
class Record:
    """One member as the directory, or a local header, describes it."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int  # of the local header
    mode: int = 0


def find_end(stream: IO[bytes]) -> tuple[int, int, int] | None:
    """Start, length and records of the directory; None where none ends where the archive's end record stands.

    So the end record of a zip that lies, stored, in a cut one is not taken for the outer's.
    """
    total = stream.seek(0, 2)
    tail_at = max(0, total - 65557)
    stream.seek(tail_at)
    tail = stream.read(65557)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        return None
    _, _, _, count, length, start, _ = struct.unpack_from("<4H2IH", tail, at + 4)
    end_at = tail_at + at
    if at >= 20 and tail[at - 20 : at - 16] == _END64_AT:
        (where,) = struct.unpack_from("<Q", tail, at - 12)
        record_at = end_at - 20 - 56
        for candidate in (where, record_at):
            stream.seek(min(candidate, total))
            record = stream.read(56)
            if len(record) == 56 and record[:4] == _END64:
                count, length, start = struct.unpack_from("<3Q", record, 32)
                end_at = candidate
                break
    return (start, length, count) if start + length == end_at else None


def records(stream: IO[bytes], start: int, length: int, count: int) -> Iterator[Record]:
    """Raises Cut where there are not so many: a changed length makes one record of two."""
    at, seen = start, 0
    while at < start + length:
        stream.seek(at)
        head = stream.read(46)
        if len(head) < 46 or head[:4] != _CENTRAL:
            raise Cut(Reason.ARCHIVE_DAMAGED, "The zip's directory is damaged.")
        flags, method, _, _, crc, packed, size = struct.unpack_from("<4H3I", head, 8)
        name_length, extra_length, comment_length = struct.unpack_from("<3H", head, 28)
        attributes, offset = struct.unpack_from("<2I", head, 38)
        rest = stream.read(name_length + extra_length)
        size, packed, offset = zip64(rest[name_length:], size, packed, offset)
        yield Record(
            name=name_of(rest[:name_length], flags, rest[name_length:]),
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            offset=offset,
            mode=attributes >> 16 if head[5] == 3 else 0,  # made on Unix
        )
        at += 46 + name_length + extra_length + comment_length
        seen += 1
    # Writers without zip64 keep just the last 16 bits of a larger number.
    if (seen - count) % (1 << 16):
        detail = f"The zip's directory is damaged: it has {seen:,} of {count:,} members that its end tells of."
        raise Cut(Reason.ARCHIVE_DAMAGED, detail)


def zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset, from the zip64 field where the short ones are full (APPNOTE 4.5.3)."""
    for kind, field in _fields(extra):
        if kind == _ZIP64:
            values = iter(value for (value,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8]))
            size = next(values, size) if size == _FULL else size
            packed = next(values, packed) if packed == _FULL else packed
            offset = next(values, offset) if offset == _FULL else offset
    return size, packed, offset


def name_of(raw: bytes, flags: int, extra: bytes) -> str:
    """A member's name. What is stored as Unicode comes first, flagged or in the field for it (APPNOTE 4.6.9).

    Many writers forget the flag, so bytes that are UTF-8 are taken for it; else they are of the PC's old code pages.
    Bytes that no text stands for come out as surrogates.
    """
    for kind, field in _fields(extra):
        if kind == _UNICODE_NAME and len(field) > 5 and struct.unpack_from("<I", field, 1)[0] == zlib.crc32(raw):
            return field[5:].decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogateescape") if flags & _UTF8 else _of_code_page(raw)


def _of_code_page(raw: bytes) -> str:
    """Russian where every foreign letter would be, and no word mixes both alphabets; else the first PC's."""
    russian = raw.decode("cp866")
    foreign = sum(byte >= 0x80 for byte in raw)
    whole = len(_CYRILLIC.findall(russian)) == foreign >= 3 and not _MIXED.search(russian)
    return russian if whole else raw.decode("cp437")


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each field of an extra block, as far as it goes."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length
