"""Originals, derivatives and models in one store, named by the SHA-256 of their bytes, over fsspec.

A name is written once and never changed. On a local disk a blob appears whole or not at all (temporary name, fsync,
rename); object stores give the same by their PUT.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from cxrscreen.errors import UsageError
from cxrscreen.settings import get_settings

CHUNK = 1 << 20
# The folders of a kind: the first two digits of the names in them.
SHELVES = tuple(f"{number:02x}" for number in range(256))


LOOK_SECONDS = 5.0  # a store that is no disk is asked no more often whether it is there


class StoreAway(OSError):
    """The whole store is out of reach (a share that is not mounted, a service that answers 503), not one blob of it.

    It may come back.
    """


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it. Raises UsageError where the package for it is not installed."""
    try:
        # No listing is remembered: another process may have changed what it tells.
        found: tuple[Any, str] = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        scheme = url.partition("://")[0]
        extra = " (pip install 'cxrscreen[s3]')" if scheme == "s3" else ""
        raise UsageError(f"{scheme}:// needs a package that is not installed{extra}: {error}") from error
    return found


class Blobs:
    """`kind` is a folder of the store: originals, derivatives, uploads, models."""

    def __init__(self, url: str) -> None:
        self.fs, self.root = filesystem(url)
        self.local = isinstance(self.fs, LocalFileSystem)
        self.in_use = False
        self._seen = float("-inf")

    def path(self, kind: str, name: str) -> str:
        """Where a blob lies; a name that begins with a dot is what a writer has not finished yet."""
        return f"{self.root}/{kind}/{name.lstrip('.')[:2]}/{name}"

    def require(self) -> None:
        """Raise StoreAway unless the store is there. Whoever has work has a model, and models are in the store.

        From here on a store that goes away is not made anew: what were written to it would be hidden once it is back.
        """
        self.in_use = True
        if self.local:
            there = Path(self.root, "models").is_dir()
        elif there := time.monotonic() - self._seen < LOOK_SECONDS:
            return
        else:
            with self._answering():
                there = bool(self.fs.exists(f"{self.root}/models"))
            if there:
                self._seen = time.monotonic()
        if not there:
            raise StoreAway(f"The store is not at {self.root}.")

    def free_bytes(self) -> int | None:
        """Room on the disk of a local store; None where there is no such number."""
        try:
            return shutil.disk_usage(self.root).free if self.local else None
        except OSError:
            return None

    def exists(self, kind: str, sha256: str) -> bool:
        with self._answering():
            return bool(self.fs.exists(self.path(kind, sha256)))

    def names(self, kind: str, shelf: str) -> Iterator[str]:
        """The names of the files in one of SHELVES, in no order; those that begin with a dot are not whole yet."""
        folder = f"{self.root}/{kind}/{shelf}"
        try:
            if self.local:
                with os.scandir(folder) as found:
                    yield from (entry.name for entry in found)
                return
            with self._answering():
                listed = self.fs.ls(folder, detail=False)
        except FileNotFoundError:
            return
        yield from (str(path).rsplit("/", 1)[-1] for path in listed)

    def weight(self, kind: str, shelf: str) -> int:
        """Bytes that lie on one of SHELVES of a local store."""
        try:
            with os.scandir(f"{self.root}/{kind}/{shelf}") as found:
                return sum(entry.stat().st_size for entry in found)
        except FileNotFoundError:  # no such shelf, or a blob that went meanwhile: a little less is told
            return 0

    def mark(self) -> str | None:
        """The line in the store's file `database`; None where there is no such file."""
        try:
            with self._answering():
                text: bytes = self.fs.cat_file(f"{self.root}/database")
        except FileNotFoundError:
            return None
        return text.decode("ascii", "replace").strip()

    def set_mark(self, text: str) -> None:
        with self._answering():
            self.fs.pipe_file(f"{self.root}/database", text.encode())

    def modified(self, kind: str, name: str) -> datetime | None:
        """When a file of the store was written; None where there is none."""
        try:
            with self._answering():
                told: datetime = self.fs.modified(self.path(kind, name))
        except FileNotFoundError:
            return None
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told

    def put(self, kind: str, data: bytes, *, durable: bool = True, sha256: str = "") -> str:
        """Store bytes, answer their SHA-256, which a caller who knows it may hand over.

        Not `durable` is for what can be made again: no fsync.
        """
        sha256 = sha256 or hashlib.sha256(data).hexdigest()
        path = self.path(kind, sha256)
        if self.local:
            if not Path(path).exists():
                with self._appearing(Path(path), durable) as file:
                    file.write(data)
        else:
            with self._answering():
                if not self.fs.exists(path):
                    self.fs.pipe_file(path, data)
        return sha256

    def put_file(self, kind: str, source: Path, sha256: str) -> None:
        """Take over a whole file whose hash is known; on the store's own disk it is moved, not copied.

        What is there already is written over: it is young again, and the sweep leaves what is young.
        """
        path = self.path(kind, sha256)
        if self.local:
            target = Path(path)
            self._make_room(target)
            try:
                source.replace(target)
                _sync_folder(target.parent)
            except OSError:  # another disk
                with source.open("rb") as origin, self._appearing(target, True) as file:
                    while chunk := origin.read(CHUNK):
                        file.write(chunk)
                source.unlink()
        else:
            with self._answering():
                self.fs.put_file(str(source), path)
            source.unlink()

    def get(self, kind: str, sha256: str) -> bytes:
        """The bytes; FileNotFoundError where there are none."""
        path = self.path(kind, sha256)
        if self.local:
            return Path(path).read_bytes()
        with self._answering():
            data: bytes = self.fs.cat_file(path)
        return data

    def digest(self, kind: str, sha256: str) -> str:
        """The hash that the bytes really have, read a piece at a time; FileNotFoundError where there are none."""
        told = hashlib.sha256()
        with self._answering(), self.fs.open(self.path(kind, sha256), "rb") as file:
            while chunk := file.read(CHUNK):
                told.update(chunk)
        return told.hexdigest()

    def delete(self, kind: str, name: str) -> None:
        """Remove a blob, or what a killed writer left of one; nothing happens where there is none."""
        path = self.path(kind, name)
        if self.local:
            Path(path).unlink(missing_ok=True)
        elif self.exists(kind, name):
            with self._answering():
                self.fs.rm_file(path)

    @contextmanager
    def as_file(self, kind: str, sha256: str, cache: Path) -> Iterator[Path]:
        """A real file with these bytes: the blob itself on a local disk, else a copy that ends with the block."""
        path = self.path(kind, sha256)
        if self.local:
            yield Path(path)
            return
        cache.mkdir(parents=True, exist_ok=True)
        copy = cache / f"{sha256}.{secrets.token_hex(4)}"
        try:
            with self._answering():
                self.fs.get_file(path, str(copy))
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Whatever a store's service says but "there is no such blob" is about the service, and may pass.

        Its libraries raise errors of many families, which are one to those who wait.
        """
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            if self.local:
                raise
            raise StoreAway(f"The store at {self.root} does not serve us: {type(error).__name__}: {error}") from error

    def _make_room(self, target: Path) -> None:
        if not self.in_use:
            target.parent.mkdir(parents=True, exist_ok=True)
            return
        try:
            for folder in (target.parent.parent, target.parent):
                folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise StoreAway(f"The store is not at {self.root}.") from error

    @contextmanager
    def _appearing(self, target: Path, durable: bool) -> Iterator[IO[bytes]]:
        growing = target.with_name(f".{target.name[:16]}.{secrets.token_hex(4)}")
        try:
            try:
                file = growing.open("xb")
            except FileNotFoundError:
                self._make_room(target)
                file = growing.open("xb")
            with file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            growing.replace(target)
        except BaseException:
            growing.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@lru_cache(maxsize=4)
def store_at(url: str) -> Blobs:
    return Blobs(url)


def store() -> Blobs:
    return store_at(get_settings().store)
