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
from functools import partial
from typing import IO

from cxrscreen.imaging.contents import Found
from cxrscreen.imaging.packing import (
    CHUNK,
    ERRORS,
    MAX_DICTIONARY,
    Cut,
    Decoder,
    deflate_decoder,
    unpack,
    xz_decoder,
    zstd_decoder,
)
from cxrscreen.imaging.reasons import Reason, Rejected, first_line
from cxrscreen.imaging.zip_records import LOCAL, Record, find_end, name_of, records, zip64

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_LZMA = 14
_READ = {0, 8, 12, _LZMA, 93, 95}
_METHODS = {9: "deflate64", 98: "PPMd", 97: "WavPack", 96: "JPEG", 6: "implode", 1: "shrink"}
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
_LINK, _DIRECTORY, _FILE = 0xA000, 0x4000, 0x8000


def contents(stream: IO[bytes]) -> Iterator[Found]:
    """The members in the directory's order. Raises Cut where the archive cannot be read (on)."""
    end = find_end(stream)
    if end is None:
        yield from _salvage(stream)
        raise Cut(Reason.ARCHIVE_DAMAGED, "The zip's directory is missing: the archive is cut short.")
    for record in records(stream, *end):
        if _is_folder(record):
            continue
        yield Found(
            name=record.name,
            size=record.size,
            packed=record.packed,
            refused=_refusal(record),
            pieces=partial(_pieces, stream, record),
        )


def _is_folder(record: Record) -> bool:
    """Whether a record stands for a folder; with bytes of its own it is a file, whatever it is called."""
    name = record.name.replace("\\", "/")  # some Windows writers use their own separator
    return record.size == 0 and (name.endswith("/") or record.mode & 0xF000 == _DIRECTORY)


def _refusal(record: Record) -> Rejected | None:
    if record.flags & _ENCRYPTED:
        return Rejected(Reason.ARCHIVE_ENCRYPTED)
    if record.mode & 0xF000 not in (0, _FILE, _DIRECTORY):
        return Rejected(Reason.LINK)
    if record.method not in _READ:
        method = _METHODS.get(record.method, f"method {record.method}")
        return Rejected(Reason.ARCHIVE_UNSUPPORTED, f"Compressed with {method}.")
    return None


def _pieces(stream: IO[bytes], record: Record) -> Iterator[bytes]:
    """The unpacked bytes of a member, checked against its size and checksum at the end."""
    # By a zip64 field it may lie where no file reaches, and where a seek is an error.
    stream.seek(min(record.offset, stream.seek(0, 2)))
    head = stream.read(30)
    if len(head) < 30 or head[:4] != LOCAL:
        raise Rejected(Reason.DAMAGED, "The archive has no such member where its directory says.")
    name_length, extra_length = struct.unpack_from("<2H", head, 26)
    start = record.offset + 30 + name_length + extra_length
    crc = size = 0
    try:
        unpacked = _unpacked(_Part(stream, start, record.packed), record.method)
        for piece in _first(record.size, unpacked) if record.method == _LZMA else unpacked:
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


def _first(size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """LZMA in a zip may go without an end mark (APPNOTE 5.8.9): what is there ends with the size of the member."""
    while size > 0 and (piece := next(pieces, None)) is not None:
        size -= len(piece)
        yield piece


def _decoder(part: _Part, method: int) -> Decoder:
    if method == 8:
        return deflate_decoder()
    if simple := {12: bz2.BZ2Decompressor, 93: zstd_decoder, 95: xz_decoder}.get(method):
        return simple()
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
        if len(head) < 30 or head[:4] != LOCAL:
            return
        flags, method, _, _, crc, packed, size = struct.unpack_from("<4H3I", head, 6)
        name_length, extra_length = struct.unpack_from("<2H", head, 26)
        rest = stream.read(name_length + extra_length)
        size, packed, _ = zip64(rest[name_length:], size, packed, 0)
        end = at + 30 + name_length + extra_length + packed
        if flags & _SIZES_FOLLOW or end > total:
            return
        record = Record(name_of(rest[:name_length], flags, rest[name_length:]), flags, method, crc, packed, size, at)
        if not _is_folder(record):
            yield Found(record.name, size, packed, _refusal(record), partial(_pieces, stream, record))
        at = end
