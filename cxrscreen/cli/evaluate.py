"""`evaluate`: what a bundle is worth on a split of an INDEX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress
from rich.table import Table

from cxrscreen.cli.common import NOTICE, err, out
from cxrscreen.errors import UsageError


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("index", type=click.Path(exists=True, path_type=Path))
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--out", "target", type=click.Path(path_type=Path), help="Write the report as JSON; default: print it.")
@click.option("--resamples", type=click.IntRange(10), default=1000, show_default=True, help="Of the bootstrap.")
def evaluate(bundle: Path, index: Path, split: str, target: Path | None, resamples: int) -> None:
    """Hold a bundle against a split of INDEX: each figure with its 95 % interval, resampled by patient."""
    from models.errors import ModelsError
    from models.evaluation import evaluate as run

    if target is not None and not target.absolute().parent.is_dir():
        raise UsageError(f"The folder of {target} does not exist.")
    try:
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("screening", total=None)
            report = run(
                bundle,
                index,
                split,
                resamples=resamples,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except ModelsError as error:
        raise UsageError(str(error)) from None
    text = json.dumps(report, indent=2) + "\n"
    if target is None:
        click.echo(text, nl=False)
        return
    target.write_text(text)
    _show_report(report)
    out.print(f"Report: {target}", markup=False)
    out.print(NOTICE, style="dim")


def _show_report(report: dict[str, Any]) -> None:
    table = Table("figure", "value", "95 % interval", box=None, pad_edge=False)
    names = ["accuracy", "balanced_accuracy", "covid", "covid_vs_normal", "within_source_auroc", "ece", "brier"]
    for name in names:
        figures = report[name]
        parts = {name: figures} if "value" in figures else {f"{name} {key}": figures[key] for key in figures}
        for title, figure in parts.items():
            if figure["value"] is None:
                table.add_row(title, "not defined", "")
                continue
            low, high = figure["ci95"]
            table.add_row(title.replace("_", " "), f"{figure['value']:.3f}", f"{low:.3f} to {high:.3f}")
    out.print(f"{report['n']} images")
    out.print(table)
