"""Where a command writes: looked at before its work begins, so that hours do not end in a line about a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cxrscreen.errors import UsageError


class TargetFile(click.Path):
    """A file that can be written, with one of these endings where any is named."""

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.endings = endings

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(f"F{ending}" for ending in self.endings) or "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if self.endings and path.suffix not in self.endings:
            raise UsageError(f"{_option(param)} takes a {' or a '.join(self.endings)} file, not {path.name!r}.")
        with _telling_what_is_closed(path):
            if path.is_dir():
                raise UsageError(f"{path} cannot be written: it is a folder, and {_option(param)} names a file.")
            if path.exists() and not os.access(path, os.W_OK):
                raise UsageError(f"{path} cannot be written: it is closed to you.")
            _need_folder(path, path.absolute().parent)
        return path


class TargetFolder(click.Path):
    """A folder that can be made, or written to."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "FOLDER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        with _telling_what_is_closed(path):
            there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
            if not there.is_dir():
                raise UsageError(f"{path} cannot be written: {there} is a file, and {_option(param)} names a folder.")
            _need_folder(path, there)
        return path


@contextmanager
def _telling_what_is_closed(target: Path) -> Iterator[None]:
    """Whether something is there cannot even be asked of a folder that may not be entered."""
    try:
        yield
    except PermissionError:
        raise UsageError(f"{target} cannot be written: a folder above it is closed to you.") from None


def _need_folder(target: Path, folder: Path) -> None:
    if not folder.is_dir():
        why = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"{target} cannot be written: its folder {folder} {why}.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{target} cannot be written: the folder {folder} is closed to you.")


def _option(param: click.Parameter | None) -> str:
    return param.opts[0] if param and isinstance(param, click.Option) else "the target"
