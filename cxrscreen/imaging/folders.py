"""The way through a folder: sorted, one directory's listing in memory for each level, links only within."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cxrscreen.imaging.archives import Limits, Member, file_members
from cxrscreen.imaging.names import Distinct, tidy
from cxrscreen.imaging.reasons import Reason, Rejected

_Listing = Iterator[tuple[Path, str]]


def walk(path: Path, label: str, limits: Limits = Limits()) -> Iterator[Member]:  # noqa: B008  (it is frozen)
    """Every entry under a folder, in an archive, or the one file, named from `label` on.

    The order is the same each time, so that an interrupted walk can pass by what it has seen. Raises nothing: what
    cannot be read is a Member with `refused`.
    """
    label = tidy(label)
    try:
        real = path.resolve(strict=True)
        is_folder = real.is_dir()
    except (OSError, RuntimeError) as error:
        yield _unreadable(label, error)
        return
    if not is_folder:
        yield from _leaf(real, label, limits)
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
            mode = child.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield from _linked(child, name, real, limits)
            elif stat.S_ISDIR(mode):
                levels.append(_listing(child, name))
            else:
                yield from _leaf(child, name, limits)
        except OSError as error:
            yield _unreadable(name, error)


def _listing(folder: Path, name: str) -> _Listing:
    with os.scandir(folder) as found:
        names = sorted(entry.name for entry in found)
    distinct = Distinct()  # two names may become one when they are tidied
    return ((folder / base, f"{name}/{distinct.name(tidy(base))}") for base in names)


def _linked(link: Path, name: str, root: Path, limits: Limits) -> Iterator[Member]:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        yield Member(name, refused=Rejected(Reason.LINK, "The link leads nowhere."))
        return
    if not target.is_relative_to(root):
        yield Member(name, refused=Rejected(Reason.LINK, "The link leads out of the folder."))
    elif target.is_dir():
        yield Member(name, refused=Rejected(Reason.LINK, "A link to a folder, whose files are read where they stand."))
    else:
        yield from _leaf(target, name, limits)


def _leaf(path: Path, name: str, limits: Limits) -> Iterator[Member]:
    if not stat.S_ISREG(path.lstat().st_mode):
        yield Member(name, refused=Rejected(Reason.LINK, "A device, pipe or socket, not a file."))
    else:
        yield from file_members(path, name, limits)


def _unreadable(name: str, error: Exception) -> Member:
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Member(name, refused=Rejected(Reason.UNREADABLE, f"{detail}."))
