"""Random changes of training pictures, on whole batches; used where something learns and nowhere else.

A chest is not turned upside down, so there are no vertical flips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Strengths. Angles in degrees, shifts and erased boxes as shares of the side, grey changes as shares of 1.

    `blur`, `erase` and `frame` are the shares of pictures that are blurred, get a box covered, or their edges.
    """

    flip: bool = True
    rotate: float = 10.0
    scale: float = 0.15
    shift: float = 0.06
    stretch: float = 0.1
    contrast: float = 0.25
    brightness: float = 0.15
    gamma: float = 0.25
    noise: float = 0.03
    blur: float = 0.2
    erase: float = 0.25
    frame: float = 0.0


# A draw for each picture, evenly between -width and width.
Spread = Callable[[float], torch.Tensor]

NONE = Augmentation(False, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def augment(inputs: torch.Tensor, how: Augmentation, chance: torch.Generator) -> torch.Tensor:
    """uint8 [N, 1, S, S] to uint8-like float32 of the same shape in 0..255, each picture changed on its own.

    Pictures and generator are of one device, and the work is done there.
    """
    x = inputs.to(torch.float32)
    n = len(x)

    def spread(width: float) -> torch.Tensor:
        return (_rand(n, chance=chance) * 2 - 1) * width

    x = _move(x, how, spread, chance)
    x = _regrey(x / 255, how, spread)
    if how.blur:
        soft = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        x = torch.where((_rand(n, chance=chance) < how.blur)[:, None, None, None], soft, x)
    if how.noise:
        level = _rand(n, 1, 1, 1, chance=chance) * how.noise
        x = x + torch.randn(x.shape, generator=chance, device=chance.device) * level
    x = x.clamp_(0, 1)
    if how.erase:
        x = _erase(x, how.erase, chance)
    if how.frame:
        x = _frame(x, how.frame, chance)
    return x * 255


def mixup(
    x: torch.Tensor, targets: torch.Tensor, alpha: float, chance: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each picture and its target [N, K] with another of the batch; the share comes from Beta(alpha, alpha)."""
    shape = torch.full((len(x),), alpha, device=x.device)
    # Two gamma draws make a beta draw; torch's own Beta takes no generator.
    first, second = (torch._standard_gamma(shape, generator=chance) for _ in range(2))
    share = first / (first + second).clamp_min(1e-9)
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(len(x), generator=chance, device=x.device)
    wide = share[:, None, None, None]
    mixed = x * wide + x[other] * (1 - wide)
    return mixed, targets * share[:, None] + targets[other] * (1 - share[:, None])


def _rand(*shape: int, chance: torch.Generator) -> torch.Tensor:
    return torch.rand(*shape, generator=chance, device=chance.device)


def _move(x: torch.Tensor, how: Augmentation, spread: Spread, chance: torch.Generator) -> torch.Tensor:
    n = len(x)
    angle = spread(math.radians(how.rotate))
    zoom = torch.exp(spread(math.log1p(how.scale)))
    wide = torch.exp(spread(math.log1p(how.stretch)))
    across, down = spread(2 * how.shift), spread(2 * how.shift)
    side = torch.ones(n, device=x.device)
    if how.flip:
        side = torch.where(_rand(n, chance=chance) < 0.5, -1.0, 1.0)
    if not (how.flip or how.rotate or how.scale or how.stretch or how.shift):
        return x
    cos, sin = torch.cos(angle), torch.sin(angle)
    top = torch.stack([side * cos * zoom * wide, -sin * zoom, across], dim=1)
    bottom = torch.stack([side * sin * zoom * wide, cos * zoom, down], dim=1)
    grid = functional.affine_grid(torch.stack([top, bottom], dim=1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _regrey(x: torch.Tensor, how: Augmentation, spread: Spread) -> torch.Tensor:
    if how.gamma:
        x = x.clamp(0, 1) ** torch.exp(spread(how.gamma))[:, None, None, None]
    if how.contrast or how.brightness:
        gain = (1 + spread(how.contrast))[:, None, None, None]
        lift = spread(how.brightness)[:, None, None, None]
        x = (x - 0.5) * gain + 0.5 + lift
    return x


def _erase(x: torch.Tensor, often: float, chance: torch.Generator) -> torch.Tensor:
    """Cover a box of 2 to 20 per cent of some pictures with their mean grey."""
    n, _, side, _ = x.shape
    at = torch.arange(side, device=x.device)

    def band() -> torch.Tensor:
        length = (0.14 + 0.31 * _rand(n, chance=chance)) * side
        start = _rand(n, chance=chance) * (side - length)
        return (at[None] >= start[:, None]) & (at[None] < (start + length)[:, None])

    box = (band()[:, :, None] & band()[:, None, :])[:, None]
    box &= (_rand(n, chance=chance) < often)[:, None, None, None]
    return torch.where(box, x.mean(dim=(2, 3), keepdim=True), x)


def _frame(x: torch.Tensor, often: float, chance: torch.Generator) -> torch.Tensor:
    """Cover the edges of some pictures, up to 15 per cent from each side, with black, their mean, or any one grey.

    Edges hold collimation, letters and the look of a viewer: what a network must not tell a hospital by.
    """
    n, _, side, _ = x.shape
    at = torch.arange(side, device=x.device)[None]
    widths = _rand(4, n, 1, chance=chance) * 0.15 * side
    down = (at >= widths[0]) & (at < side - widths[1])
    across = (at >= widths[2]) & (at < side - widths[3])
    inside = (down[:, :, None] & across[:, None, :])[:, None]
    inside |= (_rand(n, chance=chance) >= often)[:, None, None, None]
    kind, grey = _rand(n, chance=chance), _rand(n, chance=chance)
    cover = torch.where(kind < 0.4, 0.0, torch.where(kind < 0.8, x.mean(dim=(1, 2, 3)), grey))
    return torch.where(inside, x, cover[:, None, None, None])
