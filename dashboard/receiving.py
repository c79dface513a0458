"""Uploads on their way in: from the socket to the upload folder, hashed as they pass, never held in memory."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from pathlib import Path
from typing import IO, cast

from flask import Request

from cxrscreen.settings import get_settings


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
