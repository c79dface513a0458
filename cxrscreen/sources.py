"""Where files come from that nobody uploaded: a folder that the server sees, or a prefix of an object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from cxrscreen import blobs
from cxrscreen.blobs import StoreAway
from cxrscreen.errors import NotFound, OutsideRoots, StackError, UsageError
from cxrscreen.imaging import File, Limits, Member, Rejected, folders
from cxrscreen.prefixes import Prefix, normal
from cxrscreen.settings import get_settings


class Source(Protocol):
    def exists(self) -> bool:
        """Raises StoreAway where that cannot be told just now."""

    def files(self, label: str) -> Iterator[File]: ...

    def members(self, files: Iterable[File], limits: Limits) -> Iterator[Member]: ...


class Folder:
    """A folder, or one file, on a disk of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def files(self, label: str) -> Iterator[File]:
        return folders.files(self.path, label)

    def members(self, files: Iterable[File], limits: Limits) -> Iterator[Member]:
        return folders.members(files, limits)


def is_url(place: str) -> bool:
    return "://" in place


def at(place: str) -> Source:
    """The source that a path or a URL names."""
    return Prefix(place) if is_url(place) else Folder(Path(place))


def allowed(place: str) -> str:
    """The real path, or the URL, of what a person named in the dashboard.

    Raises OutsideRoots unless it lies under what the settings allow, NotFound where nothing is there, UsageError for
    no whole path.
    """
    if not is_url(place):
        return str(_allowed_folder(place))
    roots = [normal(root) for root in get_settings().allowed_prefixes]
    if not roots:
        raise OutsideRoots("No prefix may be queued from here: set CXRSCREEN_ALLOWED_PREFIXES on the server first.")
    url = normal(place)
    if not any(f"{url}/".startswith(f"{root}/") for root in roots):
        raise OutsideRoots(f"{url} is outside the allowed prefixes: {', '.join(roots)}.")
    return named(url)


def _allowed_folder(path: str) -> Path:
    """The real folder or file behind a path; whether it lies under an allowed root is asked once links are followed."""
    roots = [root.resolve() for root in get_settings().allowed_roots]
    if not roots:
        raise OutsideRoots("No folder may be queued from here: set CXRSCREEN_ALLOWED_ROOTS on the server first.")
    if not path.startswith("/") or "\0" in path:
        raise UsageError("Name the folder by its whole path on the server, beginning with '/'.")
    real = Path(path).resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise OutsideRoots(f"{path} is outside the allowed folders: {', '.join(map(str, roots))}.")
    if not real.exists():
        raise NotFound(f"{path} does not exist on the server.")
    return real


def named(place: str) -> str:
    """The path or the URL of what a person named. Raises NotFound where nothing is there, StackError where nobody can
    say."""
    try:
        return need(place)
    except StoreAway as away:
        raise StackError(str(away)) from away


def need(place: str) -> str:
    """The path or the URL of something that is there; raises NotFound, StoreAway."""
    if not is_url(place):
        real = Path(place).absolute()
        if not real.exists():
            raise NotFound(f"The folder {place} does not exist on the server.")
        return str(real)
    if not Prefix(place).exists():
        raise NotFound(f"Nothing that may be read lies under {place}.")
    return normal(place)


def need_unmoved(place: str) -> None:
    """Raise NotFound unless the folder is there and still leads where it led when it was named, by no link."""
    need(place)
    if not is_url(place) and (real := Path(place).resolve()) != Path(place):
        raise NotFound(f"{place} is a link by now, and leads to {real}.")


def read(place: str) -> bytes:
    """The bytes of one file that was found earlier. Raises FileNotFoundError where it is gone, StoreAway."""
    if not is_url(place):
        return Path(place).read_bytes()
    try:
        return Prefix(place).read(place)
    except Rejected as refused:
        raise FileNotFoundError(f"{place}: {refused}") from refused


def is_there(place: str) -> bool:
    """A quick look at one file; a store that does not answer counts as there."""
    if not is_url(place):
        return Path(place).is_file()
    try:
        return Prefix(place).exists()
    except StoreAway:
        return True


def original(path: str | None, sha256: str) -> bytes:
    """The file that an image came in: where it lies, or in the store. Raises FileNotFoundError, StoreAway."""
    return read(path) if path else blobs.store().get("originals", sha256)
