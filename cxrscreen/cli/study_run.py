"""A study on the command line: its bars while it runs, and its files and tables at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cxrscreen.cli.terminal import NOTICE, err, out
from cxrscreen.errors import UsageError

if TYPE_CHECKING:
    from models.learning.loop import Progress as Told
    from models.studies.study import Data, Entry, StudyOptions

# What the tables need; on a narrower screen a line goes on below, which is better than cut figures.
WIDTH = 140


class Run:
    """One study under way: its data, its book of rows, and the bars on the screen."""

    def __init__(self, name: str, index: Path, target: Path, options: StudyOptions, bar: Progress) -> None:
        from models.studies.book import Book
        from models.studies.study import open_data

        self.name, self.options, self.bar = name, options, bar
        self.stage = bar.add_task("reading", total=None)
        self.book = Book(target, name)
        self.data: Data = open_data(index, options, tell=self._tell)
        self.plot = target / "plot.png"
        self.summary: tuple[list[dict[str, Any]], list[dict[str, Any]], str] = ([], [], "")

    def entries(self, plan: Callable[[Data], list[Entry]]) -> None:
        from models.studies.study import run_entries

        rows = self.bar.add_task(self.name, total=None)

        def row(done: int, of: int, name: str) -> None:
            self.bar.update(rows, completed=done, total=of, description=f"{self.name}: {name}" if name else self.name)

        run_entries(plan(self.data), self.data, self.book, self.options, self._tell, row)

    def tell(
        self,
        order: tuple[str, ...],
        pairs: Callable[[list[str]], list[tuple[str, str]]],
        draw: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None],
    ) -> None:
        """Write what was found into the folder."""
        from models.studies import table as study_table
        from models.studies.measures import Measures

        measures = Measures(self.data.test.rows, self.options.resamples)
        groups = study_table.groups_of(self.book, order)
        table = study_table.lines(self.book, measures, groups)
        found = study_table.differences(self.book, measures, pairs(groups))
        answer = study_table.sentence(found) if found else ""
        self.book.write(size=self.data.learn.inputs.shape[-1], table=table, differences=found, answer=answer)
        folder = self.book.folder
        (folder / "results.csv").write_text(study_table.as_csv(table))
        (folder / "README.md").write_text(study_table.markdown(table, found, self._head(), answer))
        draw(table, found)
        self.summary = table, found, answer

    def _head(self) -> str:
        test = self.data.test.rows
        return (
            f"{self.name}: {len(test)} test pictures of {len({row.patient for row in test})} patients, "
            f"{self.data.learn.inputs.shape[-1]} px. In brackets the 95 % interval over {self.options.resamples} "
            "resamples of the test patients; n are the training pictures, s the seconds of one training."
        )

    def _tell(self, told: Told) -> None:
        words = told.stage
        if told.images_per_second:
            words += f" {told.images_per_second:.0f} images/s"
        if "auroc" in told.val:
            words += f", val AUROC {told.val['auroc']:.3f}"
        self.bar.update(self.stage, description=words, completed=told.epoch, total=told.epochs)


def run_study(name: str, index: Path, target: Path, options: dict[str, Any], study: Callable[[Run], None]) -> None:
    # torch takes seconds to import; commands that need none start without it.
    from models.errors import ModelsError
    from models.studies.study import StudyOptions

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            run = Run(name, index, target, StudyOptions(**options), bar)
            study(run)
    except ModelsError as error:
        raise UsageError(str(error)) from None
    _show(*run.summary)
    out.print(f"Results: {target}", markup=False)
    out.print(NOTICE, style="dim")


def _show(table: list[dict[str, Any]], found: list[dict[str, Any]], answer: str) -> None:
    from models.studies.table import COMPARED, TITLES, show

    shown = Table("", "n", "seeds", *TITLES.values(), "s", "images/s", box=None, pad_edge=False)
    for line in table:
        speed = line["images_per_second"]
        figures = [_two_lines(line[name]) for name in TITLES]
        told = (str(sum(line["train"].values())), str(len(line["seeds"])))
        shown.add_row(line["group"], *told, *figures, f"{line['seconds']:.0f}", f"{speed:.0f}" if speed else "")
    wide = Console(highlight=False, width=max(out.width, WIDTH))
    wide.print(shown)
    if found:
        gaps = Table("difference", "seeds", *(TITLES[name] for name in COMPARED), box=None, pad_edge=False)
        for one in found:
            figures = [show(one[name], sign=True) for name in COMPARED]
            gaps.add_row(f"{one['first']} less {one['second']}", str(len(one["seeds"])), *figures)
        out.print()
        wide.print(gaps)
    if answer:
        out.print(answer, markup=False)


def _two_lines(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    if figure["value"] is None or low is None:
        return "not defined"
    return f"{figure['value']:.3f}\n{low:.2f} to {high:.2f}"
