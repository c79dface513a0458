"""Readers of the indexes that people have; each turns its source into rows and an account of what it left out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

from models.errors import IndexInvalid
from models.indexes import covidx, folders, ieee8023, indiana, own
from models.indexes.rows import ADULT, CHILD, Found, Options, keep_present

READERS: dict[str, Callable[[Path, Options], Found]] = {
    "csv": own.read,
    "folders": folders.read,
    "ieee8023": ieee8023.read,
    "covidx": covidx.read,
    "indiana": indiana.read,
}
FORMATS = ("auto", *READERS)


def read(path: Path, format: str = "auto", options: Options | None = None) -> tuple[str, Found]:
    """The format of a source and its rows. Raises IndexInvalid, one line that names the first thing that is wrong."""
    options = options or Options()
    if format not in FORMATS:
        raise IndexInvalid(f"There is no format {format!r}; there are {', '.join(FORMATS)}.")
    if not path.exists():
        raise IndexInvalid(f"There is no index {path}.")
    chosen = detect(path) if format == "auto" else format
    found = READERS[chosen](path, options)
    if options.adults:
        kept = [row for row in found.rows if row.age is None or row.age >= ADULT]
        found.left_out[CHILD] += len(found.rows) - len(kept)
        found.rows = kept
        if unknown := sum(row.age is None for row in kept):
            found.notes.append(f"{path}: the age of {unknown} pictures is not known; they stay.")
    keep_present(path, found, options.partial)
    if not found.rows:
        why = "; ".join(f"{number} left out, {reason}" for reason, number in found.left_out.most_common() if number)
        raise IndexInvalid(f"{path} has no rows that can be used{': ' + why if why else ''}.")
    return chosen, found


def detect(path: Path) -> str:
    """The format of a source, by what is in it; a file that fits none is taken for our CSV, whose reader says why."""
    if path.is_dir():
        for name, fits in (
            ("covidx", covidx.fits_folder),
            ("indiana", indiana.fits_folder),
            ("ieee8023", ieee8023.fits_folder),
            ("csv", own.fits_folder),
            ("folders", folders.fits_folder),
        ):
            if fits(path):
                return name
        raise IndexInvalid(
            f"{path}: no index is in this folder. It should hold class folders (covid, normal, pneumonia), index.csv, "
            "metadata.csv of ieee8023, COVIDx lists or the reports of the Indiana collection."
        )
    try:
        with path.open("rb") as file:
            head = file.read(65536)
    except OSError as error:
        raise IndexInvalid(f"{path} cannot be read: {error.strerror or error}.") from None
    if head[:2] == b"\x1f\x8b" or head[257:262] == b"ustar":
        return "csv" if _holds_text(path) else "indiana"
    text = head.decode("utf-8-sig", errors="replace")
    first = text.splitlines()[0] if text else ""
    if ieee8023.fits_header(first):
        return "ieee8023"
    return "covidx" if covidx.fits_line(first) else "csv"


def _holds_text(path: Path) -> bool:
    """Whether a gzip file is a compressed table, which no reader takes, and not an archive."""
    try:
        with gzip.open(path) as file:
            return file.read(512)[257:262] != b"ustar"
    except (OSError, EOFError):
        return False
