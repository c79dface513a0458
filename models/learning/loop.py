"""One stage of training: epochs over a tensor of pictures, validation, the best weights, resuming.

Everything random is drawn from generators seeded by (seed, stage, phase, epoch), so a stage that goes on from a
checkpoint draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from cxrscreen.imaging.memory import MOST, keep_freed
from models._torchvision import ModelEmaV3
from models.errors import TrainingFailed
from models.images import normalise
from models.learning.augment import augment, mixup
from models.learning.checkpoint import Checkpoint
from models.learning.depthwise import QuickDepthwise
from models.learning.losses import class_loss, composed, sibling_loss, taught_by
from models.learning.pace import balanced_order, make_optimizer, rate, seed_of
from models.learning.recipes import Schedule
from models.metrics import auroc
from models.transfer import Network, channels_last, release, train_mode


@dataclass(frozen=True)
class Progress:
    """What a training tells while it runs. `loss` and `images_per_second` are of the epoch, `val` of validation."""

    stage: str
    epoch: int
    epochs: int
    loss: float | None = None
    val: dict[str, float] = field(default_factory=dict)
    images_per_second: float | None = None


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Task:
    """Pictures uint8 [N, 1, S, S] with the target of each, and each target's class: `parent` [K].

    `strata` [N] are the groups that a schedule balances, the classes when None. `teachers` are networks over classes.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    parent: torch.Tensor
    val_inputs: torch.Tensor
    val_labels: torch.Tensor
    positive: int
    mean: float
    std: float
    strata: torch.Tensor | None = None
    teachers: tuple[Network, ...] = ()


class Stage:
    """Trains a network on a task by a schedule; `run` leaves the kept weights in the network and answers the log."""

    def __init__(
        self,
        name: str,
        network: Network,
        task: Task,
        schedule: Schedule,
        phases: list[tuple[int | None, int]],
        *,
        seed: int,
        device: torch.device,
        tell: Tell,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.name, self.network, self.task, self.schedule = name, network, task, schedule
        self.phases, self.seed, self.device = phases, seed, device
        self.tell, self.checkpoint = tell, checkpoint
        self.epochs = sum(epochs for _, epochs in phases)
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] | None = None
        self.best_loss = math.inf
        self.stale = 0

    def run(self) -> list[dict[str, Any]]:
        # Each step frees and asks for the same hundreds of megabytes: a hundred thousand page faults else.
        keep_freed(MOST)
        channels_last(self.network.to(self.device))
        for teacher in self.task.teachers:
            channels_last(teacher.to(self.device))
        saved = self.checkpoint.read(self.name) if self.checkpoint else None
        if saved and saved["done"]:
            self.network.load_state_dict(saved["network"])
            self.log = saved["log"]
            return self.log
        for number in range(saved["phase"] if saved else 0, len(self.phases)):
            before = saved["phase_start"] if saved else self.best_loss
            self.stale = 0
            self._phase(number, saved, before)
            saved = None
            improved = self.best_loss < before
            if self.schedule.keep == "best" or len(self.phases) > 1:
                assert self.best is not None
                self.network.load_state_dict(self.best)
            if not improved and number:
                break
        if self.checkpoint:
            self.checkpoint.write(self.name, {"done": True, "network": self.network.state_dict(), "log": self.log})
        return self.log

    def _phase(self, number: int, saved: dict[str, Any] | None, before: float) -> None:
        groups, epochs = self.phases[number]
        release(self.network, groups)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = make_optimizer(self.schedule, trained, list(self.network.head.parameters()))
        ema = None
        if self.schedule.ema:
            ema = ModelEmaV3(self.network, decay=self.schedule.ema, use_warmup=True)
        first = 0
        if saved:
            first = self._restore(saved, optimizer, ema)
        for epoch in range(first, epochs):
            begun = time.perf_counter()
            loss, seen = self._epoch(number, epoch, epochs, optimizer, ema)
            speed = seen / (time.perf_counter() - begun)
            judged = self.network if ema is None else ema.module
            val = self._validate(judged)
            self._note(number, epoch, loss, val, speed, judged)
            last = epoch + 1 == epochs
            if self.checkpoint and not last and (epoch + 1) % self.checkpoint.every == 0:
                self.checkpoint.write(self.name, self._state(number, epoch, before, optimizer, ema))
            if self.schedule.patience and self.stale >= self.schedule.patience:
                break
        if ema is not None:
            self.network.load_state_dict(ema.module.state_dict())

    def _epoch(
        self, number: int, epoch: int, epochs: int, optimizer: torch.optim.Optimizer, ema: Any
    ) -> tuple[float, int]:
        seed = seed_of(self.seed, self.name, number, epoch)
        chance = torch.Generator().manual_seed(seed)
        # Pictures are changed where the network is; the order of rows is drawn on the processor.
        paint = chance if self.device.type == "cpu" else torch.Generator(self.device).manual_seed(seed)
        torch.manual_seed(seed)  # drop path and drop-out draw from torch's own generator
        train_mode(self.network)
        total, seen = 0.0, 0
        batches = list(self._batches(chance))
        for position, rows in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = rate(self.schedule, epoch + position / len(batches), epochs) * group["times"]
            whole = (position + 1) % self.schedule.accumulate == 0 or position + 1 == len(batches)
            loss = self._step(rows, paint, optimizer, whole)
            if not math.isfinite(loss):
                raise TrainingFailed(
                    f"The loss is no number any more ({loss}) in epoch {epoch + 1} of stage {self.name}; "
                    "try a smaller learning rate (--lr)."
                )
            if ema is not None and whole:
                steps = sum(n for _, n in self.phases[:number]) * len(batches) + epoch * len(batches) + position
                ema.update(self.network, step=steps)
            total, seen = total + loss * len(rows), seen + len(rows)
        return total / seen, seen

    def _step(
        self, rows: torch.Tensor, chance: torch.Generator, optimizer: torch.optim.Optimizer, whole: bool
    ) -> float:
        """Forward and backward of one batch; `whole` says that its accumulated step is complete."""
        task, schedule = self.task, self.schedule
        targets = functional.one_hot(task.targets[rows], len(task.parent)).to(self.device, torch.float32)
        grey = augment(task.inputs[rows].to(self.device), schedule.augmentation, chance)
        if schedule.mixup:
            grey, targets = mixup(grey, targets, schedule.mixup, chance)
        x = normalise(grey, task.mean, task.std)
        loss = self._loss(x, targets)
        (loss / schedule.accumulate).backward()  # type: ignore[no-untyped-call]
        if whole:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _loss(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of pictures [N, 1, S, S] with shares of the targets [N, K]."""
        schedule, parent = self.schedule, self.task.parent.to(self.device)
        with QuickDepthwise(), autocast(self.device):
            taught = taught_by(self.task.teachers, x) if self.task.teachers else None
            pooled = self.network.features(x)[1]
            logits = self.network.head(pooled).float()
            # On what the network sees, held fast: to tell siblings apart shall not change what the classes stand on.
            apart = self.network.head(pooled.detach()).float() if schedule.siblings is not None else None
        classes = int(self.task.parent.max()) + 1
        if apart is None and taught is None:
            return functional.cross_entropy(logits, targets, label_smoothing=schedule.smoothing)
        shares = torch.zeros(len(targets), classes, device=self.device).index_add_(1, parent, targets)
        loss = class_loss(composed(logits, parent, classes), shares, schedule.smoothing, taught)
        if apart is not None and len(parent) > classes:
            loss = loss + (schedule.siblings or 0.0) * sibling_loss(apart, targets, parent, classes)
        return loss

    def _batches(self, chance: torch.Generator) -> Iterator[torch.Tensor]:
        strata = self.task.parent[self.task.targets] if self.task.strata is None else self.task.strata
        order = balanced_order(strata, self.schedule.balance, chance)
        size = min(self.schedule.batch, len(order))
        # An odd rest would make batch statistics of a few pictures; it comes up in another epoch.
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]

    def _validate(self, network: torch.nn.Module) -> dict[str, float]:
        logits = forward(network, self.task.val_inputs, self.task.mean, self.task.std, self.device)
        p = composed(logits, self.task.parent, int(self.task.parent.max()) + 1).softmax(dim=1)
        labels = self.task.val_labels
        hits = p.argmax(dim=1) == labels
        present = torch.unique(labels)
        recall = [float(hits[labels == label].float().mean()) for label in present]
        loss = float(functional.nll_loss(p.clamp_min(1e-7).log(), labels))
        area = auroc((labels == self.task.positive).numpy(), p[:, self.task.positive].numpy())
        return {
            "loss": loss,
            "accuracy": float(hits.float().mean()),
            "balanced_accuracy": sum(recall) / len(recall),
            "auroc": math.nan if area is None else area,
        }

    def _note(
        self, number: int, epoch: int, loss: float, val: dict[str, float], speed: float, judged: torch.nn.Module
    ) -> None:
        if not math.isfinite(val["loss"]):
            raise TrainingFailed(
                f"The validation loss is no number any more in epoch {epoch + 1} of stage {self.name}; "
                "try a smaller learning rate (--lr)."
            )
        if val["loss"] < self.best_loss:
            self.best_loss, self.stale = val["loss"], 0
            if self.schedule.keep == "best" or len(self.phases) > 1:
                self.best = {name: tensor.clone() for name, tensor in judged.state_dict().items()}
        else:
            self.stale += 1
        done = sum(n for _, n in self.phases[:number]) + epoch + 1
        self.log.append({"stage": self.name, "epoch": done, "loss": loss} | {f"val_{key}": v for key, v in val.items()})
        self.tell(Progress(self.name, done, self.epochs, loss, val, speed))

    def _state(
        self, number: int, epoch: int, before: float, optimizer: torch.optim.Optimizer, ema: Any
    ) -> dict[str, Any]:
        return {
            "done": False,
            "phase": number,
            "epoch": epoch + 1,
            "phase_start": before,
            "network": self.network.state_dict(),
            "ema": None if ema is None else ema.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "best": self.best,
            "best_loss": self.best_loss,
            "stale": self.stale,
            "log": self.log,
        }

    def _restore(self, saved: dict[str, Any], optimizer: torch.optim.Optimizer, ema: Any) -> int:
        self.network.load_state_dict(saved["network"])
        if ema is not None:
            ema.module.load_state_dict(saved["ema"])
        optimizer.load_state_dict(saved["optimizer"])
        self.best, self.best_loss, self.stale = saved["best"], saved["best_loss"], saved["stale"]
        self.log = saved["log"]
        return int(saved["epoch"])


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the processor computes in it, float32 elsewhere; for training only."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:
        able = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=able)


@torch.no_grad()
def forward(
    network: torch.nn.Module, inputs: torch.Tensor, mean: float, std: float, device: torch.device
) -> torch.Tensor:
    """Logits [N, K] of uint8 inputs, in evaluation mode, in training's own precision."""
    network.eval()
    parts = []
    for chunk in torch.split(inputs, 64):
        with autocast(device):
            parts.append(network(normalise(chunk, mean, std).to(device)).float().cpu())
    return torch.cat(parts)
