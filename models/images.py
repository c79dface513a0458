"""From a derivative's pixels to the network's input: one function, used by training and by serving."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from models.inputs import Pixels, to_input

__all__ = ["Pixels", "grey_statistics", "normalise", "stack", "to_input"]


def stack(pictures: Sequence[Pixels], size: int, crop: float = 0.0) -> torch.Tensor:
    """Pictures of any size as one tensor [N, 1, size, size] uint8."""
    if not len(pictures):
        return torch.empty(0, 1, size, size, dtype=torch.uint8)
    return torch.from_numpy(np.stack([to_input(picture, size, crop) for picture in pictures])[:, None])


def normalise(inputs: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """uint8 [N, 1, S, S] to float32 with the training images' mean and deviation (both of 0..1 grey values)."""
    scaled = inputs.to(torch.float32).mul_(1 / 255).sub_(mean).div_(std)
    return scaled.contiguous(memory_format=torch.channels_last)


def grey_statistics(inputs: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation of grey values in 0..1, of training images only."""
    counts = torch.bincount(inputs.flatten(), minlength=256).to(torch.float64)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = float((counts * levels).sum() / counts.sum())
    variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
    return round(mean, 6), max(round(variance**0.5, 6), 1e-3)
