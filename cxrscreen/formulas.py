"""Cells that a spreadsheet would run: names come from outside, and a table is opened in anything."""

from __future__ import annotations

from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a cell begins with that is a formula


def harmless(value: Any) -> Any:
    """Text that a spreadsheet would run gets an apostrophe, which spreadsheets show as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
