"""Compressed streams, unpacked in bounded pieces by the standard library's decoders; zstd's came with Python 3.14."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Protocol

from cxrscreen.imaging.reasons import Reason, Rejected, first_line

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK = 64 * 1024
# Room for a decoder's dictionary; xz -9 asks for 64 MB.
MAX_DICTIONARY = 128 << 20
# A stream may always unpack to so much: tiny archives of even pictures reach any ratio.
FREE_BYTES = 16 << 20
# Streams in a row that hold nothing, each of which costs as much time as kilobytes of data; writers leave one or two.
MAX_EMPTY = 10_000
# What liblzma's and zstandard's errors say of a dictionary, a window, over the bound.
_TOO_MUCH = ("Memory usage limit exceeded", "Frame requires too much memory")

Read = Callable[[int], bytes]


class Cut(Rejected):
    """The archive itself cannot be read on; a plain Rejected concerns one member."""


class Decoder(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def gzip_decoder() -> Decoder:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def deflate_decoder() -> Decoder:
    return zlib.decompressobj(-zlib.MAX_WBITS)


def xz_decoder() -> Decoder:
    return lzma.LZMADecompressor(memlimit=2 * MAX_DICTIONARY)


def zstd_decoder() -> Decoder:
    # Above that window a frame is refused, as `zstd --long` has to be asked for on both sides.
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_DICTIONARY.bit_length() - 1})


DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": gzip_decoder,
    "bzip2": bz2.BZ2Decompressor,
    "xz": xz_decoder,
    "zstandard": zstd_decoder,
}
# How such a file begins. Parallel compressors put skippable frames (RFC 8878, 3.1.2) in front of zstandard's own.
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
PACKED |= {bytes([0x50 + number, 0x2A, 0x4D, 0x18]): "zstandard" for number in range(16)}
ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError, OSError, ValueError)


def unpack(decoder: Decoder, read: Read, start: bytes = b"") -> Iterator[bytes]:
    """The pieces of one compressed stream, each at most CHUNK; EOFError where the source ends first."""
    pending = start
    while not decoder.eof:
        given = pending or read(CHUNK)
        piece = decoder.decompress(given, CHUNK)
        pending = getattr(decoder, "unconsumed_tail", b"")
        if piece:
            yield piece
        elif not given and not decoder.eof:
            raise EOFError("the compressed data ends too early")
        while getattr(decoder, "needs_input", True) is False and not decoder.eof:
            yield decoder.decompress(b"", CHUNK)


class Unpacked:
    """A gzip, bzip2, xz or zstandard file read forward: what tarfile asks of a file, without ever going back.

    Raises Cut where the file is damaged, or unpacks to more than `ratio` bytes for each packed one.
    """

    def __init__(self, stream: IO[bytes], kind: str, ratio: int) -> None:
        self._stream = stream
        self._kind = kind
        self._magics = tuple(magic for magic, of in PACKED.items() if of == kind)
        self._ratio = ratio
        self._packed = 0
        self._position = 0
        self._unpacked = 0
        self._pieces = self._all_streams()
        self._buffer = bytearray()

    def peek(self, size: int) -> bytes:
        """The next bytes without taking them."""
        self._fill(size)
        return bytes(self._buffer[:size])

    def read(self, size: int) -> bytes:
        self._fill(size)
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._position += len(taken)
        return taken

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while self._position < position and self.read(min(CHUNK, position - self._position)):
            pass

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and (piece := next(self._pieces, None)) is not None:
            self._buffer += piece
            self._unpacked += len(piece)
            if self._unpacked > max(FREE_BYTES, self._ratio * self._packed):
                raise Cut(Reason.BOMB, f"{self._packed:,} bytes unpack to more than {self._unpacked:,}.")

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._packed += len(data)
        return data

    def _all_streams(self) -> Iterator[bytes]:
        """The pieces of all streams: such files may hold several, one after the other, with zeros between."""
        try:
            start = self._read(CHUNK)
            empty = 0
            while start.startswith(self._magics) and empty < MAX_EMPTY:
                decoder, empty = DECODERS[self._kind](), empty + 1
                for piece in unpack(decoder, self._read, start):
                    empty = 0
                    yield piece
                start = self._after(decoder.unused_data)
        except ERRORS as error:
            why = first_line(error)
            if any(words in why for words in _TOO_MUCH):
                raise Cut(Reason.ARCHIVE_UNSUPPORTED, "Its dictionary is larger than is read.") from error
            raise Cut(Reason.ARCHIVE_DAMAGED, f"Its compressed data is damaged or cut short ({why}).") from error
        if empty == MAX_EMPTY:
            raise Cut(Reason.ARCHIVE_DAMAGED, f"More than {MAX_EMPTY:,} empty streams follow one another.")
        if start:
            raise Cut(Reason.ARCHIVE_DAMAGED, "It goes on behind its compressed data; what stands there was not read.")

    def _after(self, start: bytes) -> bytes:
        """What follows a stream, padding left out: enough of it to know another stream by; empty at the end."""
        while len(start := start.lstrip(b"\0")) < 6 and (more := self._read(CHUNK)):
            start += more
        return start
