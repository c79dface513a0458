"""The class activation map, for free: where one linear layer follows pooling, the head can be asked at each place.

After Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from models.transfer import Network

# A map wider than this is not stored: one byte each holds height and width, and pages enlarge it anyway.
WIDEST = 64


@torch.no_grad()
def has_map(network: Network, size: int) -> bool:
    """Whether the pooled features are the plain mean of the last map, found out by trying."""
    network.eval()
    chance = torch.Generator().manual_seed(0)
    probe = torch.randn(1, 1, size, size, generator=chance).to(next(network.parameters()).device)
    features, pooled = network.features(probe)
    if features.ndim != 4 or pooled.ndim != 2 or features.shape[1] != pooled.shape[1]:
        return False
    if max(features.shape[2:]) > WIDEST or max(features.shape[2:]) < 2:
        return False
    return bool(torch.allclose(features.mean(dim=(2, 3)), pooled, rtol=1e-3, atol=1e-4))


def local_evidence(
    features: torch.Tensor, head: torch.nn.Linear, members: npt.NDArray[np.int64], temperature: float
) -> torch.Tensor:
    """Log odds of the positive class if each place of the map [N, C, h, w] stood for the whole picture, [N, h, w].

    The picture's own logits are the mean over its places of the logits that these odds are made of.
    """
    logits = torch.einsum("nchw,kc->nkhw", features, head.weight) / temperature
    if head.bias is not None:
        logits = logits + head.bias[None, :, None, None] / temperature
    # Places one by one, neither a mask nor an index: what an engine traces must not depend on values, and what a card
    # captures must not copy from here.
    inside = [int(place) for place in members]
    outside = [place for place in range(head.out_features) if place not in inside]
    speaks_for, against = (torch.stack([logits[:, k] for k in ks], dim=1) for ks in (inside, outside))
    return speaks_for.logsumexp(dim=1) - against.logsumexp(dim=1)


@torch.no_grad()
def fit_scale(network: Network, x: torch.Tensor, members: npt.NDArray[np.int64], temperature: float) -> float:
    """The scale of a model's maps: the log odds that one place in twenty of positive pictures exceeds, 1 at least."""
    if not len(x) or not has_map(network, x.shape[-1]):
        return 1.0
    device = next(network.parameters()).device
    parts = [
        local_evidence(network.features(chunk.to(device))[0], network.head, members, temperature).flatten().cpu()
        for chunk in torch.split(x, 32)
    ]
    return round(max(1.0, float(torch.cat(parts).quantile(0.95))), 3)


def uncropped(evidence: torch.Tensor, crop: float) -> torch.Tensor:
    """Evidence [N, h, w] of what was left of pictures, as evidence of the whole ones; none where they were cut off."""
    if not crop:
        return evidence
    height, width = (side + 2 for side in evidence.shape[1:])
    rows, columns = ((((torch.arange(n) + 0.5) / n - crop) / (1 - 2 * crop)) * 2 - 1 for n in (height, width))
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).expand(len(evidence), -1, -1, -1)
    # A place of the map speaks for its whole square: outside its centre the next one is mixed in, at the rim none.
    inside = (grid.abs() <= 1).all(dim=-1)
    spread = functional.grid_sample(evidence[:, None], grid, padding_mode="border", align_corners=False)
    return spread[:, 0] * inside


def to_heat(evidence: torch.Tensor, scale: float) -> npt.NDArray[np.uint8]:
    """Evidence [N, h, w] as uint8: 0 where a place speaks against the class, 255 from log odds `scale` on.

    One scale for all pictures of a model, so that a faint map means faint evidence.
    """
    return np.asarray((evidence * (255 / scale)).round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def pack(heat: npt.NDArray[np.uint8]) -> bytes:
    """One map (h, w) as bytes: height, width, then the rows."""
    height, width = heat.shape
    return bytes((height, width)) + heat.tobytes()
