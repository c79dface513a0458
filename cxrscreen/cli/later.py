"""Imports that wait until they are wanted: help, completion and a word typed wrong are answered without a database.

The libraries below the commands take two seconds of a processor to import; a person who asks for help would wait for
them, and the completion of a shell would at every press of a key.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem


class Later(ModuleType):
    """Stands in for a module, and imports it when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def later(*names: str) -> tuple[Any, ...]:
    """Modules of `cxrscreen` by their names; beside it an import under TYPE_CHECKING tells the types."""
    return tuple(Later(f"cxrscreen.{name}") for name in names)


class Place(NamedTuple):
    """Where a command stands, and what the list of commands says of it, which is the first line of its own help."""

    module: str
    name: str
    line: str


class Door(click.Group):
    """A group whose commands are imported one by one, when they are called."""

    def __init__(self, places: dict[str, Place], **more: Any) -> None:
        super().__init__(**more)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (place := self.places.get(cmd_name)) is None:
            return None
        found = getattr(importlib.import_module(place.module), place.name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.places[name].line) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        mine = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=self.places[name].line) for name in mine]
        return found + click.Command.shell_complete(self, ctx, incomplete)
