"""Uploads on their way in: from the socket to the upload folder, hashed as they pass, never held in memory."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from pathlib import Path
from typing import IO, Protocol, cast

from flask import Request, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from cxrscreen.settings import get_settings

# A line that says nothing for so long is cut: a laptop that was closed leaves its connection open for ever.
SILENT_SECONDS = 30.0
SIP = 1 << 16  # at most this much of what came is lost where a line does not end but breaks
SYNC_BYTES = 64 << 20  # a machine that stops costs no more than this, and the disk works while the line does


class Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...


def pour(file: IO[bytes], most: int, digest: Digest | None = None) -> bool:
    """Write the body of this request to a file, `most` bytes of it at most, and answer whether all of it came.

    What came before the line was cut is in the file.
    """
    line = request.environ.get("gunicorn.socket")
    if line is not None:
        line.settimeout(SILENT_SECONDS)
    written = unsafe = 0
    try:
        while chunk := _sip():
            if written + len(chunk) > most:
                return False
            file.write(chunk)
            written += len(chunk)
            unsafe += len(chunk)
            if digest is not None:
                digest.update(chunk)
            if unsafe >= SYNC_BYTES:
                file.flush()
                os.fsync(file.fileno())
                unsafe = 0
    finally:
        if line is not None:
            line.settimeout(None)
    return chunk is not None


def _sip() -> bytes | None:
    """The next bytes of the body, none at its end; None where the line was cut."""
    try:
        return request.stream.read(SIP)
    except (ClientDisconnected, OSError, ParseException):  # the last two where a body comes in chunks, without a length
        return None


class Growing(io.RawIOBase):
    """A file that grows in the upload folder. It is closed when its last byte has come, so that a thousand files of
    one form hold no thousand handles."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / secrets.token_hex(16)
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = self.path.open("xb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        chunk = bytes(cast(bytes, data))
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)
        return len(chunk)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Werkzeug rewinds a file when its last byte has come: the moment to make it safe on the disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return 0

    def drop(self) -> None:
        """Remove what nobody took over."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self.close()


class ReceivingRequest(Request):
    """Parts of a form that are files go straight to the upload folder; what the view did not take is removed."""

    growing: list[Growing]

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        stream = Growing(get_settings().upload_dir)
        self.__dict__.setdefault("growing", []).append(stream)
        return cast(IO[bytes], stream)

    def close(self) -> None:
        """Called at the end of every request, also of one whose client went away."""
        super().close()
        for stream in self.__dict__.get("growing", ()):
            stream.drop()
