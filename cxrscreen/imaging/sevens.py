"""7z archives, member by member, unpacked by py7zr in a process of its own (imaging/sevens_child.py)."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from cxrscreen.imaging.contents import Found
from cxrscreen.imaging.packing import FREE_BYTES, Cut
from cxrscreen.imaging.reasons import Reason, Rejected

MAGIC = b"7z\xbc\xaf\x27\x1c"
# Longer than any unpacker needs for a megabyte; one that is silent for so long is busy with a trap.
SILENCE_SECONDS = 60.0
_CHILD = Path(__file__).with_name("sevens_child.py")
_LONGEST = 1 << 24
_REASONS = {
    "encrypted": Reason.ARCHIVE_ENCRYPTED,
    "unsupported": Reason.ARCHIVE_UNSUPPORTED,
    "damaged": Reason.DAMAGED,
    "link": Reason.LINK,
}


def contents(stream: IO[bytes], ratio: int) -> Iterator[Found]:
    """The members in the archive's order. Raises Cut where it is damaged, locked, or unpacks to more than `ratio`."""
    with _Records(stream, ratio) as records:
        while True:
            letter, content = records.next()
            if letter == "X":
                _end_of_archive(json.loads(content))
                return
            if letter != "M":
                continue  # what is left of a member that nobody wanted to its end
            told = json.loads(content)
            yield Found(told["name"], told["size"], None, None, lambda: _pieces(records))


def _pieces(records: _Records) -> Iterator[bytes]:
    while True:
        letter, content = records.next()
        if letter == "D":
            yield content
            continue
        told = json.loads(content)
        if told["error"]:
            raise Rejected(_REASONS[told["error"]], told.get("detail", ""))
        return


def _end_of_archive(told: dict[str, Any]) -> None:
    if not told["error"]:
        return
    reason = _REASONS[told["error"]]
    if reason == Reason.DAMAGED:
        raise Cut(Reason.ARCHIVE_DAMAGED, f"The 7z archive is damaged or cut short ({told['detail']}).")
    raise Cut(reason, told["detail"])


class _Records:
    """What the child says, one record after the other; it is ended with the block."""

    def __init__(self, stream: IO[bytes], ratio: int) -> None:
        self._size = os.fstat(stream.fileno()).st_size
        self._ratio, self._unpacked = ratio, 0
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD)],
            stdin=stream.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._child.stdout is not None
        self._output = self._child.stdout.fileno()

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()

    def next(self) -> tuple[str, bytes]:
        """A record's letter and content. Raises Cut where the child says no more, or too much."""
        head = self._read(5)
        (length,) = struct.unpack(">I", head[1:])
        if length > _LONGEST:
            raise Cut(Reason.ARCHIVE_DAMAGED, "The 7z archive has a name of an absurd length.")
        letter = chr(head[0])
        if letter == "D":
            self._unpacked += length
            if self._unpacked > max(FREE_BYTES, self._ratio * self._size):
                raise Cut(Reason.BOMB, f"{self._size:,} bytes unpack to more than {self._unpacked:,}.")
        return letter, self._read(length)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            ready, _, _ = select.select([self._output], [], [], SILENCE_SECONDS)
            piece = os.read(self._output, size - len(data)) if ready else b""
            if not piece:
                said = "its unpacker ended" if ready else "unpacking takes too long"
                raise Cut(Reason.ARCHIVE_DAMAGED, f"The 7z archive cannot be read on: {said}.")
            data += piece
        return bytes(data)
