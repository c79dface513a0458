"""`train` and `pretrain`: from an INDEX to a bundle, from pictures without labels to weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cxrscreen.cli.targets import TargetFile, TargetFolder
from cxrscreen.cli.terminal import err, out
from cxrscreen.errors import UsageError

if TYPE_CHECKING:
    from models.learning.loop import Progress as Told
    from models.learning.recipes import TrainOptions

RECIPES = ("best", "taught", "scratch", "detrac", "phantom")
DEVICES = "auto, cpu, cuda or cuda:N."
SEED = "Of all that is drawn: the same seed, the same training."
SENSITIVITY = "The threshold is chosen to find this share of COVID on validation."

WORDS = {
    "images": "reading images",
    "pretrain": "learning without labels",
    "backbone": "1 backbone, on the classes",
    "decompose": "2 decomposing the classes",
    "transfer": "3 transfer, to the subclasses",
    "calibrate": "4 calibrating on validation",
}


def progress_columns() -> tuple[ProgressColumn, ...]:
    """Of a bar that shows how far, how long and how long still; new ones each time, since a bar changes its own."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def _k(_context: click.Context, _option: click.Parameter, value: str | None) -> str | int | None:
    if value is None or value == "auto":
        return value
    if value.isdigit() and int(value) > 0:
        return int(value)
    raise click.BadParameter("takes auto or a whole number from 1 on.")


@click.command()
@click.argument("index", type=click.Path(exists=True, path_type=Path))
@click.option("--out", "target", type=TargetFolder(), required=True, help="Folder of the bundle.")
@click.option(
    "--recipe",
    type=click.Choice(RECIPES),
    default="best",
    show_default=True,
    help="best; taught: larger, with three teachers, for a GPU; scratch: no ImageNet weights; detrac: the authors' "
    "schedule; phantom: small and quick, for the demo.",
)
@click.option("--backbone", default="", help="Any timm network; default: the recipe's.")
@click.option(
    "--tuning",
    type=click.Choice(["shallow", "fine", "deep"]),
    default="deep",
    show_default=True,
    help="What is trained: the last layer, layer by layer while validation improves, or all of it.",
)
@click.option("--k", metavar="auto|N", callback=_k, help="Subclasses of each class; default: the recipe's.")
@click.option("--epochs", type=click.IntRange(2), help="Of both stages together; default: the recipe's.")
@click.option("--size", type=click.IntRange(32), help="Side of the network's input in pixels; default: the recipe's.")
@click.option("--batch", type=click.IntRange(2), help="Pictures of a step; default: the recipe's.")
@click.option(
    "--lr", type=click.FloatRange(0, min_open=True), help="Learning rate of the first stage; default: the recipe's."
)
@click.option("--seed", type=int, default=0, show_default=True, help=SEED)
@click.option("--accumulate", type=click.IntRange(1), help="Batches that make one step, where memory is short.")
@click.option(
    "--pretrained/--from-scratch",
    default=None,
    help="Begin with published ImageNet weights (of an installed package, else fetched by timm), or with none; "
    "default: the recipe's.",
)
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Begin with these weights of the same network.",
)
@click.option("--sensitivity", type=click.FloatRange(0, 1), default=0.95, show_default=True, help=SENSITIVITY)
@click.option(
    "--folds",
    type=click.IntRange(0),
    default=0,
    help="Choose the threshold by cross-validation over training and validation: so many trainings more.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of PyTorch; 0: one for each core.")
@click.option("--device", default="auto", show_default=True, help=DEVICES)
@click.option("--name", default="", help="Name of the model version; default: made of the recipe and the weights.")
def train(index: Path, target: Path, **options: Any) -> None:
    """Train a model (DeTraC) on INDEX and write its bundle.

    INDEX is a CSV with the columns file, label, patient, source, split; paths are relative to it, labels are covid,
    normal, pneumonia, splits train, val, test. Whatever `index` reads is taken as well.
    Choices are made on validation; the test split stays closed until `evaluate`. Interrupted, the same command goes on
    where it was.
    """
    from models.learning.recipes import TrainOptions

    bundle = run_training(index, target, TrainOptions(**options))
    out.print(f"Take it in with: cxrscreen models register {bundle}", markup=False)


def run_training(index: Path, target: Path, options: TrainOptions) -> Path:
    """Train with a progress bar and a line for each epoch; answers the bundle's folder."""
    # torch takes seconds to import; commands that need none start without it.
    from models.errors import ModelsError
    from models.training import train as run

    try:
        with Progress(*progress_columns(), console=err, transient=True) as bar:
            bundle = run(index, target, options, _teller(bar))
    except ModelsError as error:
        raise UsageError(str(error)) from None
    _show_bundle(bundle)
    return bundle


def _teller(bar: Progress) -> Callable[[Told], None]:
    tasks: dict[str, Any] = {}

    def tell(told: Told) -> None:
        if told.stage not in tasks:
            for task in tasks.values():
                bar.update(task, visible=False)
            tasks[told.stage] = bar.add_task(WORDS.get(told.stage, told.stage), total=told.epochs)
        bar.update(tasks[told.stage], completed=told.epoch, total=told.epochs)
        if told.loss is not None:
            figures = "".join(
                f"  {name.replace('_', ' ')} {value:.3f}"
                for name, value in (told.val or {}).items()
                if isinstance(value, float)
            )
            speed = f"  {told.images_per_second:.0f} images/s" if told.images_per_second else ""
            bar.console.print(
                f"   {told.stage:9} epoch {told.epoch:3}/{told.epochs}  loss {told.loss:.4f}{figures}{speed}",
                markup=False,
            )

    return tell


def _show_bundle(bundle: Path) -> None:
    record = json.loads((bundle / "bundle.json").read_text())
    parts = ", ".join(f"{part['name']} ({part['n']})" for part in record["subclasses"])
    out.print(f"   {record['name']}: {record['backbone']} at {record['input_size']} px", markup=False)
    out.print(f"   subclasses (training images): {parts}", markup=False)
    for part, where in (("val", "validation"), ("cv", "folds")):
        if told := record["figures"].get(part):
            figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())
            out.print(f"   {where}: {figures}", markup=False)


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--out", "target", type=TargetFile(), required=True, help="The file of weights to write.")
@click.option("--backbone", default="tf_efficientnet_lite0", show_default=True, help="Any timm network.")
@click.option("--size", type=click.IntRange(32), default=192, show_default=True, help="Side in pixels.")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="Times through all pictures.")
@click.option("--batch", type=click.IntRange(8), default=64, show_default=True, help="Pictures of a step.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=5e-4, show_default=True, help="Learning rate.")
@click.option("--seed", type=int, default=0, show_default=True, help=SEED)
@click.option("--pretrained/--from-scratch", default=True, show_default=True, help="Begin with ImageNet weights.")
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Begin with these weights of the same network.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of PyTorch; 0: one for each core.")
@click.option("--device", default="auto", show_default=True, help=DEVICES)
def pretrain(source: Path, target: Path, **options: Any) -> None:
    """Learn from pictures without labels, for `train`.

    Writes weights that `train --weights` begins with.
    SOURCE is an INDEX, of which the training pictures are taken, or a folder. Interrupted, the same command goes on.
    """
    from models.errors import ModelsError
    from models.pretrain import PretrainOptions
    from models.pretrain import pretrain as run

    try:
        with Progress(*progress_columns(), console=err, transient=True) as bar:
            written = run(source, target, PretrainOptions(**options), _teller(bar))
    except ModelsError as error:
        raise UsageError(str(error)) from None
    out.print(
        f"Begin a training with it: cxrscreen train INDEX --out DIR --backbone {options['backbone']} "
        f"--weights {written}",
        markup=False,
    )
