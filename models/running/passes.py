"""The whole way from uint8 pictures to numbers as one module, so that every engine computes the same thing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.explain import local_evidence
from models.images import normalise
from models.transfer import Network

Floats = npt.NDArray[np.float32]


class Said(NamedTuple):
    """What a pass says of N pictures."""

    logits: Floats  # [N, K]
    pooled: Floats  # [N, D], what the head saw
    glance: Floats  # [N, G], what the gate sees
    evidence: Floats | None = None  # [N, h, w], the local one, where the network has a map


class Pass(nn.Module):
    """Of pictures uint8 [N, 1, S, S], what Said says."""

    def __init__(
        self,
        network: Network,
        mean: float,
        std: float,
        members: npt.NDArray[np.int64],
        temperature: float,
        mapped: bool,
    ) -> None:
        """`members` are the positive class's subclasses; `mapped` says whether the network has a map (explain)."""
        super().__init__()
        self.network = network
        self.mean, self.std, self.members, self.temperature, self.mapped = mean, std, members, temperature, mapped

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features, pooled, glance = self.network.look(normalise(x, self.mean, self.std))
        logits = self.network.head(pooled)
        if not self.mapped:
            return logits, pooled, glance
        return logits, pooled, glance, local_evidence(features, self.network.head, self.members, self.temperature)
