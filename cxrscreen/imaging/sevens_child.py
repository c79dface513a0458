"""Reads the 7z archive on its standard input and writes its members to its standard output; run as a program.

py7zr hands members out while it unpacks, in the archive's order, and may meet a hostile header or a dictionary of
gigabytes: so it works in a process of its own, with a bound on its memory, that may be ended at any time. Nothing but
py7zr is imported here. The output is records: one letter, the length (4 bytes, big endian), the content.

    M   a member begins: {"name": ..., "size": ..., "error": null, or why it is not read}
    D   some of its bytes
    E   it has ended: {"error": null, or "encrypted", "unsupported", "damaged", "link"; "detail": ...}
    X   the archive has ended: {"error": ..., "detail": ...}
"""

from __future__ import annotations

import io
import json
import resource
import stat
import struct
import sys
import zlib
from typing import IO, Any

import py7zr
import py7zr.exceptions
from py7zr.io import MemIO, Py7zIO, WriterFactory

MEMORY = 640 << 20
PIECE = 1 << 20
# After so many damaged blocks the rest of an archive is given up: each costs a look at all that is left.
MAX_DAMAGED_BLOCKS = 100

# It would unpack as much at a time as the machine has memory for.
py7zr.py7zr.get_memory_limit = lambda: PIECE  # type: ignore[attr-defined]


def put(letter: str, content: bytes | memoryview | dict[str, Any]) -> None:
    data = json.dumps(content).encode() if isinstance(content, dict) else content
    sys.stdout.buffer.write(letter.encode() + struct.pack(">I", len(data)))
    sys.stdout.buffer.write(data)


def why(error: Exception) -> dict[str, Any]:
    """What went wrong, in one of our words."""
    lines = str(error).strip().splitlines()
    detail = lines[0][:160] if lines else type(error).__name__
    if isinstance(error, py7zr.exceptions.PasswordRequired):
        return {"error": "encrypted", "detail": ""}
    if isinstance(error, py7zr.exceptions.UnsupportedCompressionMethodError):
        return {"error": "unsupported", "detail": "A compression that is not read."}
    if isinstance(error, MemoryError):
        return {"error": "unsupported", "detail": f"It takes more than {MEMORY >> 20} MB of memory to unpack."}
    return {"error": "damaged", "detail": detail}


class Sink(Py7zIO):
    """Where py7zr writes one member to."""

    def __init__(self, reading: Reading, number: int) -> None:
        self.reading, self.number = reading, number
        self.crc = self.length = 0

    def write(self, s: bytes | bytearray) -> int:
        for at in range(0, len(s), PIECE):
            put("D", memoryview(s)[at : at + PIECE])
        self.crc = zlib.crc32(s, self.crc)
        self.length += len(s)
        return len(s)

    def close(self) -> None:
        wanted = self.reading.checksums[self.number]
        wrong = wanted is not None and wanted != self.crc
        self.reading.end({"error": "damaged", "detail": "Its checksum is wrong."} if wrong else {"error": None})

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        return

    def size(self) -> int:
        return self.length


class Reading(WriterFactory):
    """The members that are still to be written, over as many attempts as there are damaged blocks."""

    def __init__(self) -> None:
        self.checksums: dict[int, int | None] = {}
        self.told: dict[int, dict[str, Any]] = {}
        self.blocks: dict[int, list[int]] = {}  # of members that lie in one compressed block, its first number: all
        self.left: set[int] = set()
        self.now: int | None = None

    def create(self, filename: str) -> Py7zIO:
        self.now = int(filename)
        put("M", self.told[self.now])
        return Sink(self, self.now)

    def end(self, how: dict[str, Any]) -> None:
        put("E", how)
        assert self.now is not None
        self.left.discard(self.now)
        self.now = None

    def look(self, archive: py7zr.SevenZipFile) -> None:
        """List the members, and answer for those that are no files."""
        block: list[int] = []
        folder = None
        for file in getattr(archive, "files", ()):
            if file.is_directory:
                continue
            self.told[file.id] = {"name": file.filename, "size": file.uncompressed}
            self.checksums[file.id] = file.crc32
            self.left.add(file.id)
            if file.folder is None or file.folder is not folder:
                block, folder = [], file.folder
            block.append(file.id)
            self.blocks[file.id] = block
            kind = stat.S_IFMT(file.posix_mode or 0)
            if file.is_symlink or file.is_junction or file.is_socket or kind not in (0, stat.S_IFREG):
                self.refuse(file.id, {"error": "link", "detail": ""})

    def refuse(self, number: int, how: dict[str, Any]) -> None:
        self.now = number
        put("M", self.told[number])
        self.end(how)

    def give_up(self, error: Exception) -> bool:
        """Answer for the block that cannot be read on; False where it is not known which one that is."""
        if self.now is None:
            return False
        block = self.blocks[self.now]
        self.end(why(error))
        for number in block:
            if number in self.left:
                self.refuse(number, why(error))
        return True


def unpack(source: IO[bytes], reading: Reading, *, first: bool) -> None:
    source.seek(0)
    with py7zr.SevenZipFile(source) as archive:
        if first:
            reading.look(archive)
        for file in getattr(archive, "files", ()):
            # Checked by the sink: py7zr would end with the first wrong one.
            archive.files.files_list[file.id].pop("digest", None)
            wanted = file.id in reading.left
            archive.worker.register_filelike(file.id, MemIO(str(file.id), reading) if wanted else None)
        if reading.left:
            archive.worker.extract(archive.fp, None, parallel=False)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    raw = io.FileIO(0)
    raw.name = "contents"  # for members without a name
    source, reading = io.BufferedReader(raw), Reading()
    for attempt in range(MAX_DAMAGED_BLOCKS):
        try:
            unpack(source, reading, first=attempt == 0)
        except BrokenPipeError:
            raise
        except Exception as error:
            before = len(reading.left)
            if not reading.give_up(error) or len(reading.left) == before:
                put("X", why(error))
                return
            continue
        break
    rest = {"error": "damaged", "detail": f"{len(reading.left):,} members are not where its header says."}
    put("X", rest if reading.left else {"error": None})


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
