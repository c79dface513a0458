"""`study`: the experiments a sceptic asks for, each a table of trainings judged on one split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cxrscreen.cli.learn import DEVICES, RECIPES, SENSITIVITY
from cxrscreen.cli.study_run import Run, run_study
from cxrscreen.cli.targets import TargetFolder


def _list(kind: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str], tuple[Any, ...]]:
    def read(_context: click.Context, _option: click.Parameter, value: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part.strip()) for part in value.split(",") if part.strip())
        except ValueError:
            raise click.BadParameter(f"{value!r} is no list of such values, parted by commas.") from None

    return read


def _k(value: str) -> str | int:
    if value == "auto":
        return value
    if int(value) < 1:
        raise ValueError(value)
    return int(value)


def _one_k(context: click.Context, option: click.Parameter, value: str) -> str | int:
    found = _list(_k)(context, option, value)
    if len(found) != 1:
        raise click.BadParameter(f"{value!r} is no single k: a number, or auto.")
    return found[0]  # type: ignore[no-any-return]


_ONE_K = click.option("--k", default="auto", show_default=True, callback=_one_k, help="Subclasses of each class.")


def _shared(size: int | None, epochs: int | None, seeds: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The arguments of every study, with the defaults that differ; None: the recipe's."""

    def words(said: str, value: int | None) -> str:
        return f"{said}." if value is not None else f"{said}; default: the recipe's."

    def add(command: Callable[..., None]) -> Callable[..., None]:
        a_file = click.Path(exists=True, dir_okay=False, path_type=Path)
        for one in reversed(
            (
                click.argument("index", type=click.Path(exists=True, path_type=Path)),
                click.option("--out", "target", type=TargetFolder(), required=True, help="Folder of the results."),
                click.option("--seeds", default=seeds, show_default=True, callback=_list(int),
                             help="A training with each."),
                click.option("--recipe", type=click.Choice(RECIPES), default="best", show_default=True,
                             help="As for `train`."),
                click.option("--backbone", default="", help="Any timm network; default: the recipe's."),
                click.option("--size", type=click.IntRange(32), default=size, show_default=size is not None,
                             help=words("Side of the input in pixels", size)),
                click.option("--epochs", type=click.IntRange(2), default=epochs, show_default=epochs is not None,
                             help=words("Of both stages together", epochs)),
                click.option("--batch", type=click.IntRange(2), help="Pictures of a step; default: the recipe's."),
                click.option("--lr", type=click.FloatRange(0, min_open=True),
                             help="Learning rate; default: the recipe's."),
                click.option("--pretrained/--no-pretrained", default=None, help="Begin with published weights."),
                click.option("--weights", type=a_file, help="Begin with these weights of the recipe's network."),
                click.option("--sensitivity", type=click.FloatRange(0, 1), default=0.95, show_default=True,
                             help=SENSITIVITY),
                click.option("--resamples", type=click.IntRange(10), default=1000, show_default=True,
                             help="Times that the patients are drawn anew for an interval (bootstrap)."),
                click.option("--threads", type=click.IntRange(0), default=0,
                             help="Threads of PyTorch; 0: OMP_NUM_THREADS, or one for each core."),
                click.option("--device", default="auto", show_default=True, help=DEVICES),
            )
        ):  # fmt: skip
            command = one(command)
        return command

    return add


@click.group("study")
def study_group() -> None:
    """Experiments of many trainings, each one table.

    Does decomposing help, how much data does it take, what do older networks reach? Each writes results.json,
    results.csv, README.md and plot.png to its folder. Interrupted, the same command goes on where it was; a finished
    row is not trained again.
    """


@study_group.command()
@_shared(96, 10, "0")
@click.option(
    "--only",
    default="",
    callback=_list(str),
    metavar="NAME,...",
    help="Rows to run, by name; default: all.",
)
def baselines(index: Path, target: Path, only: tuple[str, ...], **options: Any) -> None:
    """Texture features, older networks and ours.

    All are trained and measured on one split. AlexNet, VGG19, Xception and the authors' schedule begin from random
    weights unless --pretrained fetches theirs; size and length are reduced so that two cores can do it.
    """

    def study(run: Run) -> None:
        from models.studies import baselines as module
        from models.studies.plots import draw_lines

        run.entries(lambda _: module.plan(run.options, only))
        run.tell(module.NAMES, lambda groups: [], lambda table, _: draw_lines(table, run.plot))

    run_study("baselines", index, target, options, study)


@study_group.command()
@_shared(None, None, "0,1,2")
@click.option(
    "--tuning",
    type=click.Choice(["shallow", "fine", "deep"]),
    default="deep",
    show_default=True,
    help="As for `train`.",
)
@click.option("--k", default="auto,2,3", show_default=True, callback=_list(_k), help="What is held against k = 1.")
def ablation(index: Path, target: Path, k: tuple[str | int, ...], **options: Any) -> None:
    """Decomposed classes against whole ones.

    One first stage a seed; only k, the number of subclasses, differs. Differences are paired: the same resampled
    patients for both sides, averaged over seeds.
    """

    def study(run: Run) -> None:
        from models.studies import ablation as module
        from models.studies.plots import draw_differences

        run.entries(lambda _: module.plan(run.options, k))
        run.tell((), module.pairs, lambda _, found: draw_differences(found, run.plot))

    run_study("ablation", index, target, options, study)


@study_group.command()
@_shared(None, None, "0,1,2")
@_ONE_K
@click.option(
    "--shares", default="10,25,50,100", show_default=True, callback=_list(int), help="Per cent of the patients."
)
def curve(index: Path, target: Path, k: str | int, shares: tuple[int, ...], **options: Any) -> None:
    """What a share of the training data gives.

    Each share of the training patients, decomposed and whole. With fewer pictures an epoch has fewer steps; up to four
    times the epochs make up for it.
    """

    def study(run: Run) -> None:
        from models.studies import curves as module
        from models.studies.plots import draw_curve

        run.entries(lambda data: module.curve_plan(run.options, data.learn.rows, shares, k))
        run.tell((), module.pairs, lambda table, _: draw_curve(table, run.plot, "per cent of training patients"))

    run_study("curve", index, target, options, study)


@study_group.command()
@_shared(None, None, "0,1,2")
@_ONE_K
@click.option(
    "--ratios", default="1,5,20", show_default=True, callback=_list(int), help="Others for each COVID picture."
)
def imbalance(index: Path, target: Path, k: str | int, ratios: tuple[int, ...], **options: Any) -> None:
    """What rare COVID does to a training.

    COVID at 1:1, 1:5, 1:20 against the rest, decomposed and whole. All ratios are drawn with the same number of
    pictures in all, so that only the balance differs.
    """

    def study(run: Run) -> None:
        from models.studies import curves as module
        from models.studies.plots import draw_curve

        run.entries(lambda data: module.imbalance_plan(run.options, data.learn.rows, ratios, k))
        run.tell((), module.pairs, lambda table, _: draw_curve(table, run.plot, "others for each COVID picture"))

    run_study("imbalance", index, target, options, study)
