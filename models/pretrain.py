"""Self-supervised pretraining: what chests look like, learnt from pictures without labels.

Barlow Twins (Zbontar et al., ICML 2021, arXiv:2103.03230): two random views of a picture shall give the same features,
and each feature shall say something of its own. It needs no large batches and no second network. The loss is ten
lines; a library of methods would bring thirty packages for it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from models.data import SPLITS, Row, read_index
from models.device import pick_device, torch_threads
from models.errors import IndexInvalid, OptionsInvalid, TrainingFailed
from models.images import grey_statistics, normalise, to_input
from models.learning.augment import Augmentation, augment
from models.learning.checkpoint import Checkpoint
from models.learning.loop import Progress, Tell, autocast
from models.learning.pace import make_optimizer, rate, seed_of
from models.learning.recipes import Schedule
from models.learning.weights import begin, beginning
from models.loading import pictures
from models.transfer import Network, channels_last

# Views differ more than training's do: what two views share is all that can be learnt.
VIEWS = Augmentation(rotate=12, scale=0.3, shift=0.1, contrast=0.4, brightness=0.25, gamma=0.4, erase=0.4, frame=0.5)
PATTERNS = (".jpg", ".jpeg", ".png", ".dcm")


@dataclass(frozen=True)
class PretrainOptions:
    """`projection` is the width of the space in which features are compared, `balance` the paper's lambda."""

    backbone: str = "tf_efficientnet_lite0"
    size: int = 192
    epochs: int = 20
    batch: int = 64
    lr: float = 5e-4
    seed: int = 0
    pretrained: bool = True
    weights: Path | None = None
    threads: int = 0
    device: str = "auto"
    projection: int = 512
    balance: float = 5e-3


class Twins(nn.Module):
    """A network with three layers behind its pooled features, thrown away when it has learnt."""

    def __init__(self, network: Network, width: int) -> None:
        super().__init__()
        self.network = network
        self.projector = nn.Sequential(
            nn.Linear(network.head.in_features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
            nn.Linear(width, width, bias=False),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.projector(self.network.features(x)[1])
        return projected


def twin_loss(one: torch.Tensor, other: torch.Tensor, balance: float) -> torch.Tensor:
    """Of the projections [N, P] of two views: the cross-correlation's distance from the identity."""
    first, second = ((z - z.mean(dim=0)) / z.std(dim=0).clamp_min(1e-4) for z in (one, other))
    across = first.T @ second / len(one)
    own = torch.diagonal(across)
    return ((own - 1) ** 2).sum() + balance * ((across**2).sum() - (own**2).sum())


def pretrain(source: Path, out: Path, options: PretrainOptions, progress: Tell = lambda _: None) -> Path:
    """Learn from the training pictures of an index, or all pictures of a folder; write weights for `train --weights`.

    Validation and test pictures of an index take no part, though their labels would not either: what is measured on
    them shall be of pictures that were never seen. Interrupted, the same call goes on from `out` + ".checkpoint".
    Raises IndexInvalid, OptionsInvalid, WeightsInvalid or TrainingFailed, each with one line.
    """
    if options.batch < 8 or options.epochs < 1 or options.size < 32:
        raise OptionsInvalid("Pretraining needs a batch of 8, an epoch and a size of 32 pixels at least.")
    device = pick_device(options.device)
    rows = _rows(source)
    if len(rows) < options.batch:
        raise IndexInvalid(f"{source} holds {len(rows)} pictures to learn from; a batch has {options.batch}.")
    with torch_threads(options.threads):
        inputs = torch.empty(len(rows), 1, options.size, options.size, dtype=torch.uint8)
        for position, (_, pixels) in enumerate(pictures(rows)):
            inputs[position, 0] = torch.from_numpy(to_input(pixels, options.size))
            progress(Progress("images", position + 1, len(rows)))
        checkpoint = Checkpoint(
            out.with_name(out.name + ".checkpoint"),
            {**asdict(replace(options, threads=0)), "source": str(source), "n": len(rows)}, every=1,
        )  # fmt: skip
        network = _learn(inputs, options, device, checkpoint, progress)
        fresh = out.with_name(f".{out.name}.new")
        safetensors.torch.save_file({k: v.cpu().contiguous() for k, v in network.body.state_dict().items()}, fresh)
        fresh.replace(out)
    checkpoint.remove()
    return out


def _learn(
    inputs: torch.Tensor, options: PretrainOptions, device: torch.device, checkpoint: Checkpoint, progress: Tell
) -> Network:
    schedule = Schedule(epochs=options.epochs, lr=options.lr, batch=options.batch, weight_decay=1e-4)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        start = beginning(options.backbone, options.pretrained, options.weights)
        network = begin(options.backbone, 2, start)
        mean, std = grey_statistics(inputs) if start is None else network.grey
        twins = Twins(channels_last(network), options.projection).to(device).train()
        optimizer = make_optimizer(schedule, list(twins.parameters()))
        first = 0
        if saved := checkpoint.read("twins"):
            twins.load_state_dict(saved["twins"])
            optimizer.load_state_dict(saved["optimizer"])
            first = int(saved["epoch"])
        for epoch in range(first, options.epochs):
            chance = torch.Generator().manual_seed(seed_of(options.seed, "pretrain", epoch))
            paint = chance if device.type == "cpu" else torch.Generator(device).manual_seed(chance.initial_seed())
            torch.manual_seed(seed_of(options.seed, "drop", epoch))
            order = torch.randperm(len(inputs), generator=chance)
            batches = [part for part in torch.split(order, options.batch) if len(part) == options.batch]
            total = 0.0
            for position, part in enumerate(batches):
                for group in optimizer.param_groups:
                    group["lr"] = rate(schedule, epoch + position / len(batches), options.epochs)
                grey = inputs[part].to(device)
                views = [normalise(augment(grey, VIEWS, paint), mean, std) for _ in range(2)]
                with autocast(device):
                    one, other = twins(views[0]), twins(views[1])
                loss = twin_loss(one.float(), other.float(), options.balance)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += float(loss.detach())
            if not math.isfinite(total):
                raise TrainingFailed(f"The loss is no number any more in epoch {epoch + 1}; try a smaller --lr.")
            state = {"twins": twins.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
            checkpoint.write("twins", state)
            progress(Progress("pretrain", epoch + 1, options.epochs, total / len(batches)))
    return network.eval()


def _rows(source: Path) -> Sequence[Row]:
    """Pictures to learn from: the training rows of an index, every row of a CSV without labels of ours, a folder's."""
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in PATTERNS)
        return [Row(path, str(path.relative_to(source)), "", "", "", "train") for path in files]
    try:
        return read_index(source).split(SPLITS[0])
    except IndexInvalid:
        # Labels of another kind, as children's pictures have: only the files matter here.
        # Where a split is told, the error stands: read without it, pictures kept aside for the figures would be learnt.
        with source.open(encoding="utf-8-sig", newline="") as file:
            cells = list(csv.DictReader(file))
        names = [row.get("file") or "" for row in cells]
        if any(row.get("split") for row in cells) or not any(names):
            raise
        if not all((source.parent / name).is_file() for name in names):
            raise
        return [Row(source.parent / name, name, "", "", "", "train") for name in names]
