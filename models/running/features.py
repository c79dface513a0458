"""What a network saw of a picture, kept for other heads on the same backbone.

A shallow training, another decomposition or another threshold changes the last layer and the gate's centres alone:
what all of them stand on is the same for the same picture, and is kept as 16-bit floats, [pooled | glance].
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.running.passes import Floats, Said
from models.transfer import Network, head_keys

# Hexadecimal digits of a space's name.
DIGITS = 16


def space_of(record: Mapping[str, Any], network: Network) -> str:
    """The name of the space a network's features lie in: it changes with anything that changes them.

    A hash of every number below the head, of the network's kind, and of how pictures become inputs.
    """
    digest = hashlib.sha256()
    for name in ("backbone", "output_stride", "input_size", "mean", "std", "preprocessing"):
        digest.update(f"{name}={record[name]!r};".encode())
    if record.get("crop"):
        digest.update(f"crop={record['crop']!r};".encode())
    head = head_keys(network)
    for name, tensor in sorted(network.body.state_dict().items()):
        if name not in head and not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().contiguous().numpy()).tobytes())
    return digest.hexdigest()[:DIGITS]


def pack(said: Said) -> list[bytes]:
    """The features of each picture as bytes; none of a picture whose numbers 16 bits cannot hold."""
    with np.errstate(over="ignore"):
        numbers = np.concatenate([said.pooled, said.glance], axis=1).astype("<f2")
    sound = np.isfinite(numbers).all(axis=1)
    return [row.tobytes() if good else b"" for row, good in zip(numbers, sound, strict=True)]


def unpack(kept: Sequence[bytes], width: int) -> tuple[Floats, Floats]:
    """Pooled features [N, `width`] and glances [N, G] of N pictures. Raises ValueError where they do not fit."""
    numbers = np.frombuffer(b"".join(kept), "<f2").reshape(len(kept), -1).astype(np.float32)
    if numbers.shape[1] <= width:
        raise ValueError("these features are of another network")
    return numbers[:, :width], numbers[:, width:]


@torch.inference_mode()
def logits_of(pooled: npt.NDArray[np.float32], head: torch.nn.Linear) -> Floats:
    """What the head says, [N, K], of features [N, D]."""
    weight = head.weight.detach().float().cpu().numpy()
    bias = np.zeros(len(weight), np.float32) if head.bias is None else head.bias.detach().float().cpu().numpy()
    return np.asarray(pooled @ weight.T + bias, dtype=np.float32)
