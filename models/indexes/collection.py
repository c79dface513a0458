"""One index out of one source or several: read, searched for copies, split, and written as our CSV."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models import indexes
from models.data import forbid_leaks, lacks, split_rows
from models.errors import IndexInvalid
from models.indexes import duplicates
from models.indexes.duplicates import Pair
from models.indexes.rows import Found, Options, Row
from models.loading import forbid_copies

HEAD = ("file", "label", "patient", "source", "split")
MORE = ("view", "sex", "age")


@dataclass(frozen=True)
class Collection:
    """Rows in their splits, and what was seen on the way.

    pairs: copies, as positions in `rows`, where the patients are already joined; joined: name of a patient -> the
    patients that it stands for; seed: of the split that was made, None where the sources brought theirs.
    """

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    joined: dict[str, list[str]]
    left_out: dict[str, int]
    notes: tuple[str, ...]
    formats: tuple[str, ...]
    seed: int | None = None
    refused: tuple[str, ...] = field(default=())

    def crossing(self) -> list[Pair]:
        """Copies that stand in two splits."""
        return [pair for pair in self.pairs if self.rows[pair.first].split != self.rows[pair.second].split]

    def torn(self) -> list[Pair]:
        """Copies with two labels: one of them is wrong."""
        return [pair for pair in self.pairs if self.rows[pair.first].label != self.rows[pair.second].label]


def collect(
    paths: Sequence[Path],
    format: str = "auto",
    options: Options | None = None,
    seed: int | None = None,
    near: int = duplicates.NEAR,
    progress: Callable[[int, int], None] | None = None,
) -> Collection:
    """Read the sources, find the copies among all of them together, and split; a seed forgets the splits they bring.

    Raises IndexInvalid, one line that names the first fault: the same bytes in two splits that a source brings are
    one, pictures that merely look the same are not.
    """
    options = options or Options()
    where = Path(" + ".join(str(path) for path in paths))
    found, kinds = _read_all(paths, format, options)
    _forbid_strangers(where, found.rows, len(paths))
    if seed is None and len(paths) > 1 and len({bool(row.split) for row in found.rows}) > 1:
        raise IndexInvalid(f"{where}: some sources bring a split and others none; make one for all with --split-seed.")
    made = seed is not None or lacks(where, "csv" if set(kinds) == {"csv"} else "several", found)
    refused: list[str] = []
    rows, prints = duplicates.fingerprints(
        found.rows,
        progress=progress,
        refused=(lambda row, error: refused.append(str(error))) if options.partial else None,
    )
    if refused:
        found.left_out["the picture cannot be used"] += len(refused)
    if not rows:
        raise IndexInvalid(f"{where}: none of {len(refused)} pictures can be used; the first: {refused[0]}")
    pairs = duplicates.search(rows, prints, near)
    if made:
        believed, note = duplicates.believable(rows, pairs)
        found.notes += [note] if note else []
        after = duplicates.join(rows, believed)
        merged = duplicates.joined(rows, after)
        rows = split_rows(after, seed or 0, anew=seed is not None)
    else:
        forbid_leaks(where, rows)
        forbid_copies(rows, prints.digests)
        # The splits are the source's own: patients whose copies lie in two of them cannot be made one.
        merged = {}
    forbid_leaks(where, rows)
    notes = tuple(dict.fromkeys(found.notes))
    left_out = {reason: number for reason, number in found.left_out.most_common() if number}
    return Collection(
        tuple(rows), tuple(pairs), merged, left_out, notes, tuple(kinds), (seed or 0) if made else None, tuple(refused)
    )


def _read_all(paths: Sequence[Path], format: str, options: Options) -> tuple[Found, list[str]]:
    """The rows of all sources together, and the format of each."""
    found, kinds = Found(), []
    for path in paths:
        kind, own = indexes.read(path, format, options)
        found.rows += own.rows
        found.left_out += own.left_out
        found.notes += own.notes
        kinds.append(kind)
    return found, kinds


def _forbid_strangers(where: Path, rows: Sequence[Row], sources: int) -> None:
    """Two sources that name a picture, or a patient of one source, alike are read twice."""
    if sources < 2:
        return
    seen: dict[str, Row] = {}
    for row in rows:
        place = str(row.path.resolve())
        if place in seen:
            raise IndexInvalid(f"{where}: the file {row.name} comes from two sources.")
        seen[place] = row


def table(rows: Sequence[Row], column: str) -> dict[str, Counter[str]]:
    """Pictures by a column ("source" or "split") and label."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(getattr(row, column), Counter())[row.label] += 1
    return found


def write(collection: Collection, target: Path) -> None:
    """Our CSV, its paths relative to itself; view, sex and age where they are known of any picture."""
    more = [name for name in MORE if any(getattr(row, name) not in ("", None) for row in collection.rows)]
    base = target.absolute().parent
    draft = target.with_name(target.name + ".part")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow((*HEAD, *more))
            for row in collection.rows:
                place = Path(os.path.relpath(row.path.absolute(), base)).as_posix()
                cells = [row.label, row.patient, row.source, row.split, *(_cell(getattr(row, name)) for name in more)]
                writer.writerow((place, *cells))
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise IndexInvalid(f"{target} cannot be written: {error.strerror or error}.") from None


def _cell(value: str | float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else value
