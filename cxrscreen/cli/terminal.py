"""Where the commands write: answers to one stream, progress and complaints to the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cxrscreen.errors import UsageError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

NOTICE = "Decision support for research and triage, not a medical device."
NARROW = 80  # columns below which a table would lose whole cells


def show(table: Table) -> None:
    """Print a table: as wide as a terminal is, but never so narrow that nothing is left; to a file nothing is cut."""
    whole = Measurement.get(out, out.options.update(width=10_000, markup=False), table).maximum
    wide = max(out.width, min(whole, NARROW)) if out.is_terminal else whole
    Console(highlight=False, soft_wrap=True, width=wide).print(table, markup=False)  # a print is cut to its console


def answered(rows: Sequence[dict[str, Any]], as_json: bool, nothing: str) -> bool:
    """A list as JSON, or `nothing` where it is empty; False where it is still to be shown as a table."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        out.print(nothing)
    return as_json or not rows


def new_password() -> str:
    """Asked for twice at a terminal; else it is the first line of the standard input, for scripts."""
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return asked
    if given := sys.stdin.readline().rstrip("\r\n"):
        return given
    raise UsageError("There is no terminal to ask for a password at: give it as a line of the standard input.")
