"""How a training goes: schedules by name, and the options a person may set over them.

best     ours; what won by cross-validation on the open set: ImageNet weights, few epochs, edges cut off.
taught   the same, larger, taught by three networks of its kind; for a GPU (decision 23).
scratch  ours where no weights may be used: a smaller network, ninety epochs.
detrac   the authors' schedule (Abbas et al. 2020): SGD, a falling step, no augmentation beyond flips.
phantom  a minute for the demo's synthetic chests.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from models.errors import OptionsInvalid
from models.learning.augment import NONE, Augmentation


@dataclass(frozen=True)
class Schedule:
    """The optimisation of one stage.

    `balance` 0 draws classes as they come, 1 equally often. `ema` is the decay of the running average of the weights,
    0 for none. `accumulate` batches make one step. `patience` is the number of epochs without a better validation loss
    after which a stage ends, 0 never. `keep` says which weights remain: those of the best validation loss, or the last.
    The last layer learns `head_rate` times as fast as the rest. `siblings` weighs the subclasses of one class against
    each other beside the classes (models.learning.losses); None is the authors' cross-entropy over all subclasses.
    """

    epochs: int
    lr: float
    batch: int = 32
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    momentum: float = 0.9
    step_every: int = 0
    step_factor: float = 1.0
    warmup: float = 0.1
    smoothing: float = 0.1
    mixup: float = 0.0
    ema: float = 0.0
    balance: float = 1.0
    patience: int = 0
    keep: str = "best"
    drop_path: float = 0.0
    accumulate: int = 1
    head_rate: float = 1.0
    siblings: float | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Recipe:
    """Both stages. `restart` begins stage 2 from the starting weights, as the authors do, instead of stage 1's.

    `stride` is that of transfer.Network. `pretrained` begins with published weights. These two are those of the
    recipe's own backbone: another one keeps its own stride, and begins from nothing unless it is told otherwise.
    `by_source` balances the classes of each source instead of the classes (DeTraC.fit). `crop` is cut off every picture
    (models.inputs). As many `teachers` are trained first, alike but for their luck; both stages learn from their words.
    """

    name: str
    backbone: str
    size: int
    k: str | int
    backbone_stage: Schedule
    transfer_stage: Schedule
    restart: bool = False
    stride: int = 0
    pretrained: bool = False
    by_source: bool = False
    crop: float = 0.0
    teachers: int = 0


# A phantom's consolidation is small and faint: erased boxes and strong contrast would hide it.
GENTLE = Augmentation(
    rotate=5, scale=0.08, shift=0.04, stretch=0.05, contrast=0.15, brightness=0.1, gamma=0.15, noise=0, blur=0, erase=0
)

RECIPES = {
    "best": Recipe(
        "best",
        "tf_efficientnet_lite0",
        192,
        "auto",
        Schedule(epochs=20, lr=4e-4, ema=0.97, balance=0.5),
        Schedule(epochs=5, lr=1e-4, ema=0.97, balance=0.5, head_rate=10, siblings=0.3),
        pretrained=True,
        by_source=True,
        crop=0.06,
    ),
    "scratch": Recipe(
        "scratch",
        "regnetx_004",
        160,
        "auto",
        Schedule(epochs=90, lr=1e-3, ema=0.995),
        Schedule(epochs=12, lr=2e-4, ema=0.99),
    ),
    "detrac": Recipe(
        "detrac",
        "resnet18",
        224,
        2,
        Schedule(
            epochs=100, lr=1e-4, batch=64, optimizer="sgd", weight_decay=1e-3, momentum=0.9, step_every=3,
            step_factor=0.9, warmup=0, smoothing=0, balance=0, augmentation=replace(NONE, flip=True),
        ),
        Schedule(
            epochs=100, lr=1e-4, batch=64, optimizer="sgd", weight_decay=1e-3, momentum=0.95, step_every=5,
            step_factor=0.95, warmup=0, smoothing=0, balance=0, augmentation=replace(NONE, flip=True),
        ),
        restart=True,
    ),
    "phantom": Recipe(
        "phantom",
        "resnet10t",
        96,
        2,
        Schedule(epochs=32, lr=2e-3, batch=16, keep="last", augmentation=GENTLE),
        Schedule(epochs=8, lr=5e-4, batch=16, keep="last", augmentation=GENTLE),
        stride=16,
    ),
}  # fmt: skip
RECIPES["taught"] = replace(RECIPES["best"], name="taught", size=256, teachers=3)


@dataclass(frozen=True)
class TrainOptions:
    """What `cxrscreen train` may be told; None and "" mean what the recipe says.

    `epochs` are those of both stages together. `threads` 0 takes what torch finds. `phantom` marks a model of
    synthetic pictures, which every page then says. `sensitivity` is what the threshold is chosen for, on validation, or
    on `folds` folds of training and validation together (folds.py).
    """

    backbone: str = ""
    tuning: str = "deep"
    k: str | int | None = None
    epochs: int | None = None
    size: int | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int = 0
    recipe: str = "best"
    accumulate: int | None = None
    pretrained: bool | None = None
    weights: Path | None = None
    threads: int = 0
    name: str = ""
    phantom: bool = False
    sensitivity: float = 0.95
    folds: int = 0
    device: str = "auto"


def resolve(recipe: str, options: dict[str, Any]) -> Recipe:
    """The recipe with what was set by hand, the options of the same names, in its place."""
    if recipe not in RECIPES:
        raise OptionsInvalid(f"There is no recipe {recipe!r}; there are {', '.join(RECIPES)}.")
    chosen = RECIPES[recipe]
    for name, least in (("epochs", 2), ("size", 32), ("batch", 2), ("accumulate", 1)):
        if (value := options.get(name)) is not None and value < least:
            raise OptionsInvalid(f"{name} must be at least {least}, not {value}.")
    if (lr := options.get("lr")) is not None and not lr > 0:
        raise OptionsInvalid(f"lr must be above 0, not {lr}.")
    first, second = chosen.backbone_stage, chosen.transfer_stage
    if epochs := options.get("epochs"):
        share = first.epochs / (first.epochs + second.epochs)
        before = min(max(1, round(epochs * share)), epochs - 1)
        first, second = replace(first, epochs=before), replace(second, epochs=epochs - before)
    if batch := options.get("batch"):
        first, second = replace(first, batch=batch), replace(second, batch=batch)
    if lr:
        first, second = replace(first, lr=lr), replace(second, lr=lr * second.lr / chosen.backbone_stage.lr)
    if accumulate := options.get("accumulate"):
        first, second = replace(first, accumulate=accumulate), replace(second, accumulate=accumulate)
    own = options.get("backbone") in ("", None, chosen.backbone)
    pretrained = options.get("pretrained")
    return replace(
        chosen,
        backbone=options.get("backbone") or chosen.backbone,
        stride=chosen.stride if own else 0,
        pretrained=chosen.pretrained and own if pretrained is None else pretrained,
        size=options.get("size") or chosen.size,
        k=chosen.k if options.get("k") is None else options["k"],
        backbone_stage=first,
        transfer_stage=second,
    )


def describe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON can hold it."""
    return asdict(recipe)
