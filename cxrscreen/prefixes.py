"""A prefix of an object store (s3://bucket/folder) as a source: walked page by page, read object by object.

Credentials and the service's address come from where its library looks for them (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ENDPOINT_URL ... or the machine's role), never from a URL.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from cxrscreen.blobs import StoreAway, filesystem
from cxrscreen.errors import UsageError
from cxrscreen.imaging import File, Limits, Member, Reason, Rejected, folders
from cxrscreen.imaging.archives import HEAD, file_members, is_archive, not_to_be_read
from cxrscreen.imaging.names import tidy
from cxrscreen.settings import get_settings

LISTED = 1000  # keys of a page, the most there is
HEADS = 64  # objects whose first bytes are asked for at once
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BUSY = (408, 429)  # answers of a service that is there


def normal(url: str) -> str:
    """The one way to write a prefix. Raises UsageError for what is none."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    key = key.strip("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket):
        raise UsageError(f"A prefix looks like s3://bucket/folder, not {tidy(url)[:200]!r}.")
    if tidy(key) != key or (key and any(part in ("", ".", "..") for part in key.split("/"))):
        raise UsageError(f"A part of {tidy(url)[:200]!r} is empty, dots or no text.")
    return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"


class Prefix:
    """What lies under a URL, or the one object that it names."""

    def __init__(self, url: str) -> None:
        self.url = normal(url)
        self.bucket, _, self.key = self.url.removeprefix("s3://").partition("/")
        self.fs: Any = filesystem(self.url)[0]

    def exists(self) -> bool:
        """Something lies there that we may list. Raises StoreAway where the service does not answer."""
        try:
            return next(self._objects(), None) is not None
        except Rejected:
            return False

    def files(self, label: str) -> Iterator[File]:
        """The objects in the order of their keys, a page of the listing in memory."""
        try:
            found = False
            for key, size, tag in self._objects():
                found = True
                yield File(self._name(label, key), f"s3://{self.bucket}/{key}", f"{size}-{tag}"[:80], size=size)
            if not found:
                raise Rejected(Reason.UNREADABLE, "Nothing lies there.")
        except Rejected as refused:
            yield File(tidy(label), self.url, refused=refused)

    def members(self, files: Iterable[File], limits: Limits) -> Iterator[Member]:
        """The objects as entries; archives are copied to the cache folder and opened there."""
        for some in folders.pages(files, HEADS):
            heads = self._heads(some)
            for file in some:
                head = heads.get(file.place, b"")
                if file.refused or isinstance(head, Rejected):
                    refused = file.refused or head
                    assert isinstance(refused, Rejected)
                    yield Member(file.name, refused=refused, file=file)
                elif is_archive(head):
                    yield from self._unpacked(file, limits)
                else:
                    yield Member(
                        file.name,
                        file.size,
                        refused=not_to_be_read(file.name, file.size, limits),
                        max_bytes=limits.max_entry_bytes,
                        url=file.place,
                        fetch=lambda most, place=file.place: self.read(place, most),  # type: ignore[misc]
                        file=file,
                    )

    def read(self, url: str, most: int | None = None) -> bytes:
        """The bytes of an object, or the first of them. Raises Rejected and StoreAway."""
        with _answering(url):
            try:
                data: bytes = self.fs.cat_file(url.removeprefix("s3://"), start=0, end=most)
            except Exception as error:
                if _status(error) == 416:  # an empty object has no first byte
                    return b""
                raise
        return data

    def _objects(self) -> Iterator[tuple[str, int, str]]:
        """Key, size and tag: first of the object of this very name, then of those in the folder."""
        if self.key:
            with suppress(Rejected):  # most prefixes are no object
                with _answering(self.url):
                    told = self.fs.call_s3("head_object", Bucket=self.bucket, Key=self.key)
                yield self.key, told["ContentLength"], told["ETag"].strip('"')
        after: dict[str, str] = {}
        while True:
            with _answering(self.url):
                asked = {"Prefix": f"{self.key}/" if self.key else "", "MaxKeys": LISTED}
                page = self.fs.call_s3("list_objects_v2", Bucket=self.bucket, **asked, **after)
            for each in page.get("Contents", ()):
                if each["Size"] or not each["Key"].endswith("/"):  # else the mark of an empty folder
                    yield each["Key"], each["Size"], each["ETag"].strip('"')
            if not page.get("IsTruncated"):
                return
            after = {"ContinuationToken": page["NextContinuationToken"]}

    def _name(self, label: str, key: str) -> str:
        if key == self.key:
            return tidy(label)
        name = key[len(self.key) + 1 :] if self.key else key
        tidied = tidy(name)
        if tidied != name:  # two keys may become one when they are tidied
            tidied = f"{tidied} ({hashlib.sha256(key.encode()).hexdigest()[:8]})"
        return f"{tidy(label)}/{tidied}"

    def _heads(self, files: Iterable[File]) -> dict[str, bytes | Rejected]:
        places = [file.place for file in files if file.size and not file.refused]
        paths = [place.removeprefix("s3://") for place in places]
        with _answering(self.url):
            told = self.fs.cat_ranges(paths, 0, HEAD, on_error="return") if paths else []
        heads: dict[str, bytes | Rejected] = {}
        for place, head in zip(places, told, strict=True):
            try:
                with _answering(place):
                    if isinstance(head, Exception):
                        raise head
                heads[place] = head
            except Rejected as refused:
                heads[place] = refused
        return heads

    def _unpacked(self, file: File, limits: Limits) -> Iterator[Member]:
        """An archive's members. It is copied whole: every format of archive wants to go back and forth in it."""
        cache = get_settings().cache_dir
        cache.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(cache)
        if file.size > disk.total:
            detail = f"{file.size:,} bytes; archives of a store are copied to a disk that has {disk.total:,}."
            yield Member(file.name, file.size, refused=Rejected(Reason.TOO_LARGE, detail), file=file)
            return
        if file.size + get_settings().store_reserve_gb * 1e9 > disk.free:
            raise StoreAway(f"The cache folder has {disk.free:,} bytes left and {file.name} has {file.size:,}.")
        copy = cache / f"{hashlib.sha256(file.place.encode()).hexdigest()}.{secrets.token_hex(4)}"
        try:
            try:
                with _answering(file.place):
                    self.fs.get_file(file.place.removeprefix("s3://"), str(copy))
            except Rejected as refused:
                yield Member(file.name, file.size, refused=refused, file=file)
                return
            for member in file_members(copy, file.name, limits):
                if member.path is not None:  # it is another now than its first bytes were
                    member = replace(member, path=None, data=copy.read_bytes())
                yield replace(member, file=file)
        finally:
            copy.unlink(missing_ok=True)


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """What is not there or not for us is refused with the reason; anything else is about the service, and may pass."""
    try:
        yield
    except (Rejected, StoreAway):
        raise
    except Exception as error:
        status = _status(error)
        if isinstance(error, FileNotFoundError) or status == 404:
            raise Rejected(Reason.UNREADABLE, "It is not there.") from error
        if isinstance(error, PermissionError) or type(error).__name__.endswith("CredentialsError"):
            raise Rejected(Reason.UNREADABLE, f"The store does not let us read it: {error}") from error
        if status is not None and 400 <= status < 500 and status not in _BUSY:
            raise Rejected(Reason.UNREADABLE, f"The store answers {status}: {error}") from error
        raise StoreAway(f"{url} does not answer: {type(error).__name__}: {error}") from error


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of the store's library."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return int(status) if status else None
    return None
