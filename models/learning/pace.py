"""What an epoch draws and how fast it learns: the order of rows, layers released, optimiser, learning rate, seeds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch

from models.learning.recipes import Schedule


def balanced_order(groups: torch.Tensor, balance: float, chance: torch.Generator) -> torch.Tensor:
    """An epoch's rows [N]: each group as often as its size to the power 1 - balance, whole rounds before repeats."""
    sizes = torch.bincount(groups)
    shares = torch.where(sizes > 0, sizes.to(torch.float64) ** (1 - balance), 0.0)
    wanted = (shares / shares.sum() * len(groups)).round().to(torch.int64)
    parts = []
    for group, number in enumerate(wanted.tolist()):
        rows = torch.where(groups == group)[0]
        drawn = 0
        while drawn < number:
            part = rows[torch.randperm(len(rows), generator=chance)][: number - drawn]
            parts.append(part)
            drawn += len(part)
    order = torch.cat(parts)
    return order[torch.randperm(len(order), generator=chance)]


def phases_of(tuning: str, groups: int, epochs: int) -> list[tuple[int | None, int]]:
    """Which layer groups learn for how many epochs. `fine` gives each release an equal share, one epoch at least."""
    if tuning == "deep":
        return [(None, epochs)]
    if tuning == "shallow":
        return [(0, epochs)]
    steps = min(groups + 1, epochs)
    share, rest = divmod(epochs, steps)
    released: list[int | None] = [round(i * groups / max(1, steps - 1)) for i in range(steps)]
    return [(number, share + (i < rest)) for i, number in enumerate(released)]


def make_optimizer(
    schedule: Schedule, parameters: Sequence[torch.nn.Parameter], head: Sequence[torch.nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """`times` of each parameter group says how many times the schedule's rate it learns at: the head's is its own."""
    last, plain = {id(p) for p in head}, schedule.optimizer == "sgd"
    groups = []
    for own, times in ((False, 1.0), (True, schedule.head_rate)):
        part = [p for p in parameters if (id(p) in last) == own]
        # AdamW spares norms and biases; the authors' SGD decays everything.
        spared = [] if plain else [p for p in part if p.ndim <= 1]
        decayed = part if plain else [p for p in part if p.ndim > 1]
        groups.append({"params": decayed, "weight_decay": schedule.weight_decay, "times": times})
        groups.append({"params": spared, "weight_decay": 0.0, "times": times})
    groups = [group for group in groups if group["params"]]
    if plain:
        return torch.optim.SGD(groups, schedule.lr, momentum=schedule.momentum)
    return torch.optim.AdamW(groups, schedule.lr)


def rate(schedule: Schedule, epoch: float, epochs: int) -> float:
    """The learning rate at a (broken) epoch: falling by steps, or a linear rise and half a cosine."""
    if schedule.step_every:
        return schedule.lr * schedule.step_factor ** (int(epoch) // schedule.step_every)
    rise = schedule.warmup * epochs
    if epoch < rise:
        return schedule.lr * (0.05 + 0.95 * epoch / rise)
    return schedule.lr * max(0.01, 0.5 * (1 + math.cos(math.pi * (epoch - rise) / max(epochs - rise, 1e-9))))


def seed_of(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7])
