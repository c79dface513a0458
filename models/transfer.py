"""Transfer: a timm network with a head over the classes of the day, and how much of it may learn.

shallow   only the head; everything else, batch statistics included, stays as it is.
fine      layers are released step by step from the head down, as long as validation improves.
deep      everything.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import models.alexnet  # noqa: F401  timm knows it from here on
from models._torchvision import group_parameters, timm
from models.errors import OptionsInvalid, WeightsInvalid

TUNINGS = ("shallow", "fine", "deep")


class Network(nn.Module):
    """A backbone [N, 1, S, S] -> map [N, C, h, w] -> pooled [N, D] -> logits [N, K]."""

    def __init__(
        self, backbone: str, outputs: int, *, stride: int = 0, pretrained: bool = False, drop_path: float = 0.0
    ) -> None:
        """`stride` is how many pixels of the picture's side one place of the last map stands for; 0: the network's own.

        Half the usual 32 keeps the last layers' weights and dilates them, for a map of twice the side.
        """
        super().__init__()
        # timm also takes names with a prefix, which fetch from elsewhere; only its own list is meant here.
        if not timm.is_model(backbone):
            near = ", ".join(timm.list_models(f"*{backbone[:6]}*")[:5]) or "resnet18, regnetx_004"
            raise OptionsInvalid(f"timm has no network {backbone!r}; it has for example {near}.")
        options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        if stride:
            options["output_stride"] = stride
        try:
            self.body: nn.Module = timm.create_model(
                backbone, pretrained=pretrained, in_chans=1, num_classes=outputs, **options
            )
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise OptionsInvalid(
                f"timm cannot make {backbone!r} for pictures of one channel: {one_line(error)}"
            ) from None
        except OSError as error:  # the hub cannot be reached
            raise WeightsInvalid(
                f"The pretrained weights of {backbone!r} cannot be fetched from timm's hub ({type(error).__name__}); "
                "bring them as a file with --weights."
            ) from None
        self.backbone, self.stride = backbone, stride
        self.layered = hasattr(self.body, "forward_intermediates")
        if not isinstance(self.head, nn.Linear) or self.head.bias is None:
            raise OptionsInvalid(f"{backbone!r} does not end in one linear layer, which the subclasses need.")

    @property
    def grey(self) -> tuple[float, float]:
        """Mean and deviation of 0..1 grey values that the network's published weights expect."""
        told: Any = self.body.pretrained_cfg
        return round(sum(told["mean"]) / len(told["mean"]), 6), round(sum(told["std"]) / len(told["std"]), 6)

    @property
    def head(self) -> nn.Linear:
        return cast(nn.Linear, self.body.get_classifier())  # type: ignore[operator]

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last map and what the head sees of it, pooled [N, D]."""
        features = self.body.forward_features(x)  # type: ignore[operator]
        return features, self.body.forward_head(features, pre_logits=True)  # type: ignore[operator]

    def look(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`features`, and at a glance what the layers before the last saw: their maps' means, side by side [N, G].

        A network whose layers timm cannot reach gives its pooled features in their place.
        """
        if not self.layered:
            features, pooled = self.features(x)
            return features, pooled, pooled
        features, maps = self.body.forward_intermediates(x)  # type: ignore[operator]
        pooled = self.body.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return features, pooled, torch.cat([one.mean(dim=(2, 3)) for one in maps[:-1]], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.head(self.features(x)[1]))

    def quiet_head(self) -> None:
        """A head that says next to nothing yet. One as timm draws it for some networks sends large gradients into
        weights that were brought along, and undoes them."""
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def split_head(self, parent: torch.Tensor) -> None:
        """A new last layer over subclasses, `parent` [K] naming the class of each.

        Each subclass begins as its class did, its bias less the logarithm of the number of siblings: so the composed
        answer begins where the classes' answer ended, and nothing has to be learnt twice.
        """
        weight, bias = self.head.weight.detach().clone(), self.head.bias.detach().clone()
        self.body.reset_classifier(len(parent))  # type: ignore[operator]
        self.head.to(weight.device)
        parent = parent.to(weight.device)
        with torch.no_grad():
            self.head.weight.copy_(weight[parent])
            self.head.bias.copy_(bias[parent] - torch.bincount(parent)[parent].log())


def release(network: Network, groups: int | None) -> None:
    """Let the head and the last `groups` layer groups learn; None releases everything, 0 only the head."""
    ordered = layer_groups(network)
    released = ordered if groups is None else ordered[len(ordered) - groups :]
    free = head_keys(network).union(*released)
    for name, parameter in network.body.named_parameters():
        parameter.requires_grad_(name in free)


def layer_groups(network: Network) -> list[list[str]]:
    """Names of the body's parameters in groups from the input up, without the head, as timm groups them."""
    matcher = network.body.group_matcher(coarse=True)  # type: ignore[operator]
    head = head_keys(network)
    grouped = group_parameters(network.body, matcher)
    ordered = [[name for name in names if name not in head] for _, names in sorted(grouped.items())]
    return [names for names in ordered if names]


def channels_last(network: Network) -> Network:
    """The same network with its pictures' channels innermost in memory, which the processors' kernels prefer."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def glance_width(network: Network, size: int) -> int:
    """G of `Network.look`, found out by looking."""
    return network.eval().look(torch.zeros(1, 1, size, size))[2].shape[1]


def train_mode(network: Network) -> None:
    """Training mode, except that batch statistics of frozen layers stay as they are."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters()):
            module.eval()


def head_keys(network: Network) -> set[str]:
    head = network.head
    prefix = next(name for name, module in network.body.named_modules() if module is head)
    return {f"{prefix}.{name}" for name in head.state_dict()}


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
