"""Import directions that the contracts in pyproject.toml cannot say: a room that may import one module of another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("cxrscreen", "models", "worker", "dashboard", "migrations", "bench", "tests")


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, at its head or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OURS)


@pytest.mark.parametrize(
    ("room", "may"),
    [("cxrscreen/imaging", ["cxrscreen.imaging"]), ("migrations", ["cxrscreen.tables", "migrations"])],
)
def test_a_room_imports_no_more_than_it_may(room: str, may: list[str]) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    found = {(str(path.relative_to(ROOT)), name) for path in files for name in imported(path)}
    assert [pair for pair in sorted(found) if not any(f"{pair[1]}.".startswith(f"{one}.") for one in may)] == []
