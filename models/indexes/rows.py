"""What every reader of an index gives: rows, and an account of what it left out and why."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import IndexInvalid

CLASSES = ("covid", "normal", "pneumonia")
SPLITS = ("train", "val", "test")
ADULT = 18.0
FRONTAL = ("PA", "AP")
# Reasons that several readers count under.
MISSING = "the file is missing"
NOT_FRONTAL = "not a frontal view"
CHILD = "under 18 years"


@dataclass(frozen=True)
class Row:
    """One picture of a data set. `name` is the path as the index wrote it; what is not known is empty or None."""

    path: Path
    name: str
    label: str
    patient: str
    source: str
    split: str
    view: str = ""
    sex: str = ""
    age: float | None = None  # years


@dataclass(frozen=True)
class Options:
    """How a source is read.

    images: the folder of the pictures, where it is not the usual one. adults: leave out ages under 18. partial: leave
    out, and count, what is missing or unreadable instead of ending there. patient: a pattern whose first group is the
    patient, searched in the path of a picture in class folders. negative: the class that "negative" of a COVIDx list
    stands for, where nothing else tells.
    """

    images: Path | None = None
    adults: bool = False
    partial: bool = False
    patient: str = ""
    negative: str = ""


@dataclass
class Found:
    """The rows of a source, what was left out (reason -> pictures), and what a reader of the figures should know."""

    rows: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def table(path: Path, errors: str = "strict") -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and trimmed cells of each row of a CSV; columns without a name are dropped.

    Raises IndexInvalid where the file is no CSV of UTF-8 text. `errors` is that of `open`.
    """
    try:
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            for cells in reader:
                yield reader.line_num, {name: (value or "").strip() for name, value in cells.items() if name}
    except FileNotFoundError:
        raise IndexInvalid(f"There is no index {path}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IndexInvalid(f"{path} cannot be read as a CSV of UTF-8 text: {error}.") from None


def columns(path: Path, errors: str = "strict") -> list[str]:
    """The names in the head of a CSV, trimmed."""
    try:
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            return [name.strip() for name in next(csv.reader(file), [])]
    except FileNotFoundError:
        raise IndexInvalid(f"There is no index {path}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IndexInvalid(f"{path} cannot be read as a CSV of UTF-8 text: {error}.") from None


def require_columns(path: Path, found: list[str], needed: Iterable[str], more: str = "") -> None:
    if missing := [name for name in needed if name not in found]:
        raise IndexInvalid(
            f"{path} has no column {', '.join(missing)}; its columns are: {', '.join(found) or 'none'}. "
            f"Needed: {', '.join(needed)}{more}."
        )


def years(text: str) -> float | None:
    """An age as a number of years; None for what is no age."""
    try:
        age = float(text)
    except ValueError:
        return None
    return age if 0 <= age <= 130 else None


def first_existing(candidates: Iterable[Path]) -> Path:
    """The first path that is a file, else the first."""
    paths = list(candidates)
    return next((path for path in paths if path.is_file()), paths[0])


def keep_present(path: Path, found: Found, partial: bool) -> None:
    """Missing files end the reading, by the first one's name; a source known to be partial only counts them."""
    absent = [row for row in found.rows if not row.path.is_file()]
    if absent and not partial:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise IndexInvalid(f"{path}: the file {absent[0].name} does not exist{more}.")
    if absent:
        gone = {row.path for row in absent}
        found.rows = [row for row in found.rows if row.path not in gone]
        found.left_out[MISSING] += len(absent)
