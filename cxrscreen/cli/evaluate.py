"""`evaluate` and `holdout`: what a bundle is worth on a split of an INDEX, and a recipe on a source never seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress
from rich.table import Table

from cxrscreen.cli.learn import DEVICES, SEED, _teller, progress_columns
from cxrscreen.cli.targets import TargetFile, TargetFolder
from cxrscreen.cli.terminal import NOTICE, err, out, show
from cxrscreen.errors import UsageError

RESAMPLES = "Times that the patients are drawn anew for an interval (bootstrap)."
INDEX = click.Path(exists=True, path_type=Path)


def _shares(_context: click.Context, _option: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in value.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise click.BadParameter("takes shares between 0 and 1 with commas between them, such as 0.01,0.1.")
    return shares


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("index", type=INDEX)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True,
              help="Which pictures of INDEX it is measured on.")  # fmt: skip
@click.option("--out", "target", type=TargetFile(), help="Write the figures as JSON; default: print them.")
@click.option("--report", "folder", type=TargetFolder(),
              help="Write an HTML report and its drawings into this folder; implies --training.")  # fmt: skip
@click.option("--training", is_flag=True,
              help="Look at the training pictures too: subclasses, source probe, relearned audits.")  # fmt: skip
@click.option("--prevalence", "prevalences", metavar="P,P", callback=_shares, default="0.01,0.1,0.22",
              show_default=True, help="Shares of covid that PPV and NPV are given for.")  # fmt: skip
@click.option("--map", "how", type=click.Choice(["pca", "tsne"]), default="pca", show_default=True,
              help="How the report's map of the features is made.")  # fmt: skip
@click.option("--resamples", type=click.IntRange(10), default=1000, show_default=True, help=RESAMPLES)
def evaluate(bundle: Path, index: Path, split: str, target: Path | None, folder: Path | None, training: bool,
             prevalences: tuple[float, ...], how: str, resamples: int) -> None:  # fmt: skip
    """Measure a bundle on the test split of INDEX.

    BUNDLE is a folder that `train` wrote. Each figure comes with its 95 % interval, resampled by patient. Lungs, all
    but the border, and text are taken away in turn, to see what is still answered. docs/evaluation.md says how to read
    it. The report's folder shows pictures of the data set.
    """
    # torch takes seconds to import; commands that need none start without it.
    from models.errors import ModelsError
    from models.evaluation import examine

    try:
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("screening", total=None)
            examined = examine(
                bundle,
                index,
                split,
                resamples=resamples,
                training=training or folder is not None,
                prevalences=prevalences,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except ModelsError as error:
        raise UsageError(str(error)) from None
    text = json.dumps(examined.figures, indent=2) + "\n"
    if target is not None:
        target.write_text(text)
    page = None
    if folder is not None:
        from models.reports import report

        page = report.write(examined, folder, how)
    if target is None and page is None:
        click.echo(text, nl=False)
        return
    _show_figures(examined.figures)
    for name, path in (("Figures", target), ("Report", page)):
        if path is not None:
            out.print(f"{name}: {path}", markup=False)
    out.print(NOTICE, style="dim")


@click.command()
@click.argument("index", type=INDEX)
@click.option("--out", "target", type=TargetFolder(), required=True,
              help="Folder of the bundles and of holdout.json.")  # fmt: skip
@click.option("--recipe", default="best", show_default=True, help="As for `train`.")
@click.option("--backbone", default="", help="Any timm network; default: the recipe's.")
@click.option("--epochs", type=click.IntRange(2), help="Of both stages together.")
@click.option("--size", type=click.IntRange(32), help="Side of the network's input, in pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help=SEED)
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of PyTorch; 0: one for each core.")
@click.option("--device", default="auto", show_default=True, help=DEVICES)
@click.option("--resamples", type=click.IntRange(10), default=1000, show_default=True, help=RESAMPLES)
def holdout(index: Path, target: Path, resamples: int, **options: Any) -> None:
    """Train without each source in turn, measure on it.

    How well does a model do at a hospital it has never seen? INDEX is as for `train`. Where a class stands in one
    source only there is nothing to learn it from, and the answer says so.
    """
    from models.errors import ModelsError
    from models.learning.recipes import TrainOptions
    from models.reports.holdout import leave_one_out

    try:
        with Progress(*progress_columns(), console=err, transient=True) as bar:
            told = leave_one_out(
                index,
                target,
                TrainOptions(**options),
                resamples=resamples,
                tell=_teller(bar),
                begin=lambda source: bar.console.print(f"Without {source}:", markup=False),
            )
    except ModelsError as error:
        raise UsageError(str(error)) from None
    target.mkdir(parents=True, exist_ok=True)
    (target / "holdout.json").write_text(json.dumps(told, indent=2) + "\n")
    for source, answer in told.items():
        out.print(f"Without {source}: {_in_words(answer)}", markup=False)
    out.print(f"Figures: {target / 'holdout.json'}", markup=False)
    out.print(NOTICE, style="dim")


def _in_words(answer: dict[str, Any]) -> str:
    if "why_not" in answer:
        return str(answer["why_not"])
    covid = answer["figures"]["covid"]
    said = [f"{name} {_in_brackets(covid[name])}" for name in ("auroc", "sensitivity", "specificity")
            if covid[name]["value"] is not None]  # fmt: skip
    return f"{', '.join(said)}. {answer['undefined']}".strip()


def _in_brackets(figure: dict[str, Any]) -> str:
    if figure["ci95"][0] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['ci95'][0]:.3f} to {figure['ci95'][1]:.3f})"


def _show_figures(report: dict[str, Any]) -> None:
    table = Table("figure", "value", "95 % interval", box=None, pad_edge=False)
    names = ["accuracy", "balanced_accuracy", "covid", "covid_vs_normal", "within_source_auroc", "ece", "brier"]
    for name in names:
        figures = report[name]
        parts = {name: figures} if "value" in figures else {f"{name} {key}": figures[key] for key in figures}
        for title, figure in parts.items():
            _add(table, title, figure)
    for name, audit in report["audits"].items():
        _add(table, f"audit {name}: auroc", audit["covid"]["auroc"])
    out.print(f"{report['n']} images")
    show(table)


def _add(table: Table, title: str, figure: dict[str, Any]) -> None:
    if figure["value"] is None:
        table.add_row(title.replace("_", " "), "not defined", "")
        return
    low, high = figure["ci95"]
    interval = "" if low is None else f"{low:.3f} to {high:.3f}"
    table.add_row(title.replace("_", " "), f"{figure['value']:.3f}", interval)
