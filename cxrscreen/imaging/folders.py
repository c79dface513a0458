"""The way through a folder: sorted, one directory's listing in memory for each level, links only within."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from cxrscreen.imaging.archives import File, Limits, Member, file_members
from cxrscreen.imaging.names import Distinct, joined, tidy
from cxrscreen.imaging.reasons import Reason, Rejected

_Listing = Iterator[tuple[Path, str]]


def walk(path: Path, label: str, limits: Limits = Limits()) -> Iterator[Member]:  # noqa: B008  (it is frozen)
    """Every entry under a folder, in an archive, or the one file, named from `label` on.

    The order is the same each time, so that an interrupted walk can pass by what it has seen. Raises nothing: what
    cannot be read is a Member with `refused`.
    """
    return members(files(path, label), limits)


def members(found: Iterable[File], limits: Limits) -> Iterator[Member]:
    """The files of a walk as entries, archives opened."""
    for file in found:
        if file.path is None:
            yield Member(file.name, refused=file.refused, file=file)
            continue
        for member in file_members(file.path, file.name, limits):
            yield replace(member, file=file)


def pages(found: Iterable[File], size: int) -> Iterator[list[File]]:
    """The files of a walk in lists of a size."""
    rest = iter(found)
    while page := list(islice(rest, size)):
        yield page


def files(path: Path, label: str) -> Iterator[File]:
    """What lies under a folder, or the one file; nothing is opened."""
    label = tidy(label)
    try:
        real = path.resolve(strict=True)
        seen = real.stat()
    except (OSError, RuntimeError) as error:
        yield _unreadable(label, path, error)
        return
    if not stat.S_ISDIR(seen.st_mode):
        yield _leaf(real, label, real, seen)
        return
    # A stack, as folders may be nested deeper than Python's calls.
    levels: list[_Listing] = [_listing(real, label)]
    while levels:
        step = next(levels[-1], None)
        if step is None:
            levels.pop()
            continue
        child, name = step
        try:
            seen = child.lstat()
            if stat.S_ISLNK(seen.st_mode):
                yield _linked(child, name, real)
            elif stat.S_ISDIR(seen.st_mode):
                levels.append(_listing(child, name))
            else:
                yield _leaf(child, name, child, seen)
        except OSError as error:
            yield _unreadable(name, child, error)


def is_as_it_was(file: File) -> bool:
    """A file is now what it was when the walk came to it."""
    try:
        return file.path is None or _stamp(file.path.lstat()) == file.stamp
    except OSError:
        return False


def _listing(folder: Path, name: str) -> _Listing:
    with os.scandir(folder) as found:
        names = sorted(entry.name for entry in found)
    distinct = Distinct()  # two names may become one when they are tidied
    return ((folder / base, joined(name, distinct.name(tidy(base)))) for base in names)


def _linked(link: Path, name: str, root: Path) -> File:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return _no_file(name, link, "The link leads nowhere.")
    if not target.is_relative_to(root):
        return _no_file(name, link, "The link leads out of the folder.")
    if target.is_dir():
        return _no_file(name, link, "A link to a folder, whose files are read where they stand.")
    return _leaf(target, name, link)


def _leaf(path: Path, name: str, place: Path, seen: os.stat_result | None = None) -> File:
    seen = seen or path.lstat()
    if not stat.S_ISREG(seen.st_mode):
        return _no_file(name, place, "A device, pipe or socket, not a file.")
    return File(name, str(place), _stamp(seen), seen.st_mtime, seen.st_size, path)


def _stamp(seen: os.stat_result) -> str:
    return f"{seen.st_size}-{seen.st_mtime_ns}"


def _no_file(name: str, place: Path, why: str) -> File:
    return File(name, str(place), _stamp(place.lstat()), refused=Rejected(Reason.LINK, why))


def _unreadable(name: str, place: Path, error: Exception) -> File:
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return File(name, str(place), refused=Rejected(Reason.UNREADABLE, f"{detail}."))
