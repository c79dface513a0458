"""Zip archives (PKWARE's APPNOTE 6.3), member by member.

The directory is read as a stream: the standard library's ZipFile would hold every record of an archive of millions.
An archive without its directory, cut by a broken transfer, is read from its local headers as far as they go.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

from cxrscreen.imaging.contents import Found
from cxrscreen.imaging.packing import CHUNK, ERRORS, MAX_DICTIONARY, Cut, Decoder, deflate_decoder, unpack
from cxrscreen.imaging.reasons import Reason, Rejected, first_line

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL, _CENTRAL, _END, _END64, _END64_AT = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_METHODS = {9: "deflate64", 93: "zstandard", 95: "xz", 98: "PPMd", 97: "WavPack", 6: "implode", 1: "shrink"}
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800
_LINK, _DIRECTORY, _FILE = 0xA000, 0x4000, 0x8000
_FULL = 0xFFFFFFFF


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


def contents(stream: IO[bytes]) -> Iterator[Found]:
    """The members in the directory's order. Raises Cut where the archive cannot be read (on)."""
    end = _find_end(stream)
    if end is None:
        yield from _salvage(stream)
        raise Cut(Reason.ARCHIVE_DAMAGED, "The zip's directory is missing: the archive is cut short.")
    for record in _records(stream, *end):
        if _is_folder(record):
            continue
        yield Found(
            name=record.name,
            size=record.size,
            packed=record.packed,
            refused=_refusal(record),
            pieces=partial(_pieces, stream, record),
        )


def _find_end(stream: IO[bytes]) -> tuple[int, int] | None:
    """Start and length of the directory; None where none ends where the archive's end record stands.

    So the end record of a zip that lies, stored, in a cut one is not taken for the outer's.
    """
    total = stream.seek(0, 2)
    tail_at = max(0, total - 65557)
    stream.seek(tail_at)
    tail = stream.read(65557)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        return None
    _, _, _, _, length, start, _ = struct.unpack_from("<4H2IH", tail, at + 4)
    end_at = tail_at + at
    if at >= 20 and tail[at - 20 : at - 16] == _END64_AT:
        (where,) = struct.unpack_from("<Q", tail, at - 12)
        record_at = end_at - 20 - 56
        for candidate in (where, record_at):
            stream.seek(min(candidate, total))
            record = stream.read(56)
            if len(record) == 56 and record[:4] == _END64:
                length, start = struct.unpack_from("<2Q", record, 40)
                end_at = candidate
                break
    return (start, length) if start + length == end_at else None


def _records(stream: IO[bytes], start: int, length: int) -> Iterator[Record]:
    at = start
    while at < start + length:
        stream.seek(at)
        head = stream.read(46)
        if len(head) < 46 or head[:4] != _CENTRAL:
            raise Cut(Reason.ARCHIVE_DAMAGED, "The zip's directory is damaged.")
        flags, method, _, _, crc, packed, size = struct.unpack_from("<4H3I", head, 8)
        name_length, extra_length, comment_length = struct.unpack_from("<3H", head, 28)
        attributes, offset = struct.unpack_from("<2I", head, 38)
        rest = stream.read(name_length + extra_length)
        size, packed, offset = _zip64(rest[name_length:], size, packed, offset)
        yield Record(
            name=_decode(rest[:name_length], flags),
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            offset=offset,
            mode=attributes >> 16 if head[5] == 3 else 0,  # made on Unix
        )
        at += 46 + name_length + extra_length + comment_length


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset, from the zip64 field where the short ones are full (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            values = iter(value for (value,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8]))
            size = next(values, size) if size == _FULL else size
            packed = next(values, packed) if packed == _FULL else packed
            offset = next(values, offset) if offset == _FULL else offset
        at += 4 + length
    return size, packed, offset


def _decode(name: bytes, flags: int) -> str:
    """UTF-8 where it is that, flagged or not, as many writers forget the flag; else the PC's old code page."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if flags & _UTF8 else name.decode("cp437")


def _is_folder(record: Record) -> bool:
    """Whether a record stands for a folder; with bytes of its own it is a file, whatever it is called."""
    name = record.name.replace("\\", "/")  # some Windows writers use their own separator
    return record.size == 0 and (name.endswith("/") or record.mode & 0xF000 == _DIRECTORY)


def _refusal(record: Record) -> Rejected | None:
    if record.flags & _ENCRYPTED:
        return Rejected(Reason.ARCHIVE_ENCRYPTED)
    if record.mode & 0xF000 not in (0, _FILE, _DIRECTORY):
        return Rejected(Reason.LINK)
    if record.method not in (0, 8, 12, 14):
        method = _METHODS.get(record.method, f"method {record.method}")
        return Rejected(Reason.ARCHIVE_UNSUPPORTED, f"Compressed with {method}.")
    return None


def _pieces(stream: IO[bytes], record: Record) -> Iterator[bytes]:
    """The unpacked bytes of a member, checked against its size and checksum at the end."""
    stream.seek(record.offset)
    head = stream.read(30)
    if len(head) < 30 or head[:4] != _LOCAL:
        raise Rejected(Reason.DAMAGED, "The archive has no such member where its directory says.")
    name_length, extra_length = struct.unpack_from("<2H", head, 26)
    start = record.offset + 30 + name_length + extra_length
    crc = size = 0
    try:
        for piece in _unpacked(_Part(stream, start, record.packed), record.method):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            yield piece
    except Rejected:
        raise
    except ERRORS as error:
        raise Rejected(Reason.DAMAGED, f"Its compressed data is damaged ({first_line(error)}).") from error
    if size != record.size or crc != record.crc:
        raise Rejected(Reason.DAMAGED, "Its size or checksum is not what the archive says.")


class _Part:
    """A stretch of a file; other members may be read between two reads of it."""

    def __init__(self, stream: IO[bytes], start: int, length: int) -> None:
        self._stream, self.at, self._end = stream, start, start + length

    def read(self, size: int) -> bytes:
        self._stream.seek(self.at)
        data = self._stream.read(max(0, min(size, self._end - self.at)))
        self.at += len(data)
        return data


def _unpacked(part: _Part, method: int) -> Iterator[bytes]:
    if method == 0:
        while piece := part.read(CHUNK):
            yield piece
        return
    yield from unpack(_decoder(part, method), part.read)


def _decoder(part: _Part, method: int) -> Decoder:
    if method == 8:
        return deflate_decoder()
    if method == 12:
        return bz2.BZ2Decompressor()
    # Method 14 puts the filter's properties in front (APPNOTE 5.8.8).
    _, length = struct.unpack("<2H", part.read(4).ljust(4, b"\0"))
    properties = part.read(length)
    if length != 5 or len(properties) != 5 or properties[0] >= 225:
        raise Rejected(Reason.DAMAGED, "Its LZMA properties are damaged.")
    dictionary = struct.unpack_from("<I", properties, 1)[0]
    if dictionary > MAX_DICTIONARY:
        raise Rejected(Reason.ARCHIVE_UNSUPPORTED, "Its LZMA dictionary is larger than is read.")
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    spec = {"id": lzma.FILTER_LZMA1, "dict_size": max(4096, dictionary), "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[spec])


def _salvage(stream: IO[bytes]) -> Iterator[Found]:
    """Members of an archive without a directory, as long as their local headers say where they end."""
    at = 0
    total = stream.seek(0, 2)
    while True:
        stream.seek(at)
        head = stream.read(30)
        if len(head) < 30 or head[:4] != _LOCAL:
            return
        flags, method, _, _, crc, packed, size = struct.unpack_from("<4H3I", head, 6)
        name_length, extra_length = struct.unpack_from("<2H", head, 26)
        rest = stream.read(name_length + extra_length)
        size, packed, _ = _zip64(rest[name_length:], size, packed, 0)
        end = at + 30 + name_length + extra_length + packed
        if flags & _SIZES_FOLLOW or end > total:
            return
        record = Record(_decode(rest[:name_length], flags), flags, method, crc, packed, size, at)
        if not _is_folder(record):
            yield Found(record.name, size, packed, _refusal(record), partial(_pieces, stream, record))
        at = end
