"""`index`: from what people have (class folders, lists, metadata, reports) to the INDEX that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cxrscreen.cli.targets import TargetFile
from cxrscreen.cli.terminal import err, out
from cxrscreen.errors import UsageError

if TYPE_CHECKING:
    from models.indexes.collection import Collection

FORMATS = ("auto", "csv", "folders", "ieee8023", "covidx", "indiana")
LABELS = ("covid", "normal", "pneumonia")
SHOWN = 10


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="SOURCE...")
@click.option("--out", "target", type=TargetFile(), help="The CSV to write.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Of SOURCE; auto: looked up in it.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the pictures, where SOURCE does not tell.",
)
@click.option("--adults", is_flag=True, help="Leave out ages under 18, where the age is known.")
@click.option("--partial", is_flag=True, help="Leave out what is missing or unreadable; else end there.")
@click.option("--patient", default="", metavar="REGEX", help="Class folders: finds a patient in a path.")
@click.option("--negative", type=click.Choice(LABELS), help="What `negative` of a COVIDx list stands for.")
@click.option("--split-seed", type=int, help="Make the split anew; default: keep the source's, or make one from 0.")
@click.option(
    "--near",
    type=click.IntRange(0, 256),
    default=56,
    show_default=True,
    help="Two pictures are copies where at most so many of 256 bits of how they look differ.",
)
@click.option("--check", is_flag=True, help="Write nothing; status 1 where copies stand in two splits.")
def index(sources: tuple[Path, ...], target: Path | None, check: bool, **options: Any) -> None:
    """Turn data sets into one INDEX to train on.

    Reads every picture, searches for copies, splits by patient and writes a CSV with the columns file, label, patient,
    source, split.

    A SOURCE is an INDEX, a folder of class folders, metadata.csv of ieee8023/covid-chestxray-dataset, a COVIDx list, or
    the reports of the Indiana collection; what it is shows in its content. Copies are searched among all sources
    together, by their bytes and by how they look, and their patients are put in one split.
    """
    # Reading pictures imports torch, which takes seconds; the other commands start without it.
    from models.errors import ModelsError
    from models.indexes.collection import collect, write
    from models.indexes.rows import Options

    if (target is None) != check:
        raise UsageError("Say --out FILE to write the index, or --check to write none.")
    if target is not None and any(source.resolve() == target.resolve() for source in sources):
        raise UsageError(f"{target} is the source itself; write to another file.")
    seed, near, form = options.pop("split_seed"), options.pop("near"), options.pop("form")
    options["negative"] = options["negative"] or ""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("reading pictures", total=None)
            found = collect(
                sources,
                form,
                Options(**options),
                seed,
                near,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        _show(found)
        if target is not None:
            write(found, target)
            out.print(f"Index: {target}", markup=False)
    except ModelsError as error:
        raise UsageError(str(error)) from None
    _show_gaps(found)
    if check and found.crossing():
        raise click.exceptions.Exit(1)


def _show(found: Collection) -> None:
    from models.indexes.collection import table

    patients = len({row.patient for row in found.rows})
    out.print(f"{len(found.rows)} pictures of {patients} patients; format: {', '.join(found.formats)}")
    for column in ("source", "split"):
        grid = Table(column, *LABELS, "all", box=None, pad_edge=False)
        for name, counts in sorted(table(found.rows, column).items(), key=lambda item: _order(item[0])):
            grid.add_row(name, *(str(counts[label] or "-") for label in LABELS), str(counts.total()))
        out.print(grid)
    out.print("The split was made here." if found.seed is not None else "The split is the source's own.")
    for reason, number in found.left_out.items():
        out.print(f"left out: {number}, {reason}", markup=False)
    for line in found.refused[:SHOWN]:
        out.print(f"   {line}", markup=False)
    for note in found.notes:
        out.print(f"note: {note}", markup=False)
    _show_copies(found)


def _order(name: str) -> tuple[int, str]:
    splits = ("train", "val", "test")
    return (splits.index(name), "") if name in splits else (len(splits), name)


def _show_copies(found: Collection) -> None:
    exact = sum(pair.exact for pair in found.pairs)
    out.print(f"copies: {exact} pairs of the same bytes, {len(found.pairs) - exact} that look the same")
    if found.joined:
        count = sum(map(len, found.joined.values()))
        out.print(f"   {count} patients became {len(found.joined)}, so that no copy crosses a split")
    for title, pairs in (("in two splits", found.crossing()), ("with two labels", found.torn())):
        if pairs:
            out.print(f"   {len(pairs)} pairs {title}:")
            for pair in pairs[:SHOWN]:
                one, other = found.rows[pair.first], found.rows[pair.second]
                how = "same bytes" if pair.exact else f"{pair.distance} of 256 bits differ"
                out.print(
                    f"      {one.name} ({one.split}, {one.label}, patient {one.patient}) and "
                    f"{other.name} ({other.split}, {other.label}, patient {other.patient}): {how}",
                    markup=False,
                )
            if len(pairs) > SHOWN:
                out.print(f"      and {len(pairs) - SHOWN} more")


def _show_gaps(found: Collection) -> None:
    """What would stop a training on this index."""
    from models.data import Index, require_trainable
    from models.errors import IndexInvalid

    try:
        require_trainable(Index(Path("this index"), found.rows, found.seed))
    except IndexInvalid as error:
        out.print(f"note: it serves for evaluation, not for training: {error}", markup=False)
