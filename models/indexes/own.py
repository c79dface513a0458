"""Our own index: a CSV with columns file, label, patient, source, and split where there is one.

Paths are relative to the CSV. Of the other columns view, sex and age are kept.
"""

from __future__ import annotations

from pathlib import Path

from models.errors import IndexInvalid
from models.indexes.rows import CLASSES, SPLITS, Found, Options, Row, columns, require_columns, table, years

NEEDED = ("file", "label", "patient", "source")
NAME = "index.csv"


def fits_folder(folder: Path) -> bool:
    return (folder / NAME).is_file()


def read(path: Path, options: Options) -> Found:
    index = path / NAME if fits_folder(path) else path
    require_columns(index, columns(index), NEEDED, ", and split where there is one")
    base = options.images or index.parent
    found = Found([_row(index, base, line, cells) for line, cells in table(index)])
    if not found.rows:
        raise IndexInvalid(f"{index} has no rows.")
    return found


def _row(path: Path, base: Path, line: int, cells: dict[str, str]) -> Row:
    for name in ("file", "label", "patient"):
        if not cells.get(name):
            raise IndexInvalid(f"{path}, line {line}: the {name} is empty.")
    split = cells.get("split", "")
    if cells["label"] not in CLASSES:
        raise IndexInvalid(f"{path}, line {line}: unknown label {cells['label']!r}; known are {', '.join(CLASSES)}.")
    if split and split not in SPLITS:
        raise IndexInvalid(f"{path}, line {line}: unknown split {split!r}; known are {', '.join(SPLITS)}.")
    return Row(
        base / cells["file"],
        cells["file"],
        cells["label"],
        cells["patient"],
        cells.get("source") or "unknown",
        split,
        cells.get("view", ""),
        cells.get("sex", ""),
        years(cells.get("age", "")),
    )
