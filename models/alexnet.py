"""AlexNet under timm's roof: torchvision's layers (Krizhevsky 2014) with the doors that a timm network has.

timm has no AlexNet. Importing this module gives it one by the name `alexnet`, so that it is decomposed, transferred and
saved like every other backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from models._torchvision import register_model, torchvision_alexnet, torchvision_alexnet_weights


class AlexNet(nn.Module):
    """Pictures [N, C, S, S] -> map [N, 256, s, s] -> [N, 4096] -> logits. S from 63 pixels on."""

    def __init__(self, num_classes: int = 1000, in_chans: int = 3) -> None:
        super().__init__()
        # torchvision's own first initialisation stands: it is PyTorch's default for each layer.
        whole = torchvision_alexnet(num_classes=num_classes)
        self.features, self.avgpool, self.classifier = whole.features, whole.avgpool, whole.classifier
        if in_chans != 3:
            first = self.features[0]
            self.features[0] = nn.Conv2d(in_chans, first.out_channels, 11, stride=4, padding=2)
        self.pretrained_cfg: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        self.num_features, self.num_classes = self.get_classifier().in_features, num_classes

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.features(x))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = torch.flatten(self.avgpool(x), 1)
        hidden = self.classifier[:-1](pooled)
        return cast(torch.Tensor, hidden if pre_logits else self.get_classifier()(hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Linear:
        return cast(nn.Linear, self.classifier[-1])

    def reset_classifier(self, num_classes: int) -> None:
        self.classifier[-1] = nn.Linear(self.num_features, num_classes)
        self.num_classes = num_classes

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Layer groups as timm asks for them: each convolution, then each linear layer, by the name of a parameter."""

        def place(name: str) -> int:
            part, number, *_ = name.split(".")
            return int(number) + (len(self.features) if part == "classifier" else 0)

        return place


def _take_three_channels(network: AlexNet, state: dict[str, torch.Tensor]) -> None:
    name = "features.0.weight"
    own = network.state_dict()
    if own[name].shape[1] == 1:
        state[name] = state[name].sum(dim=1, keepdim=True)
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("classifier.6.")}, strict=False)


@register_model
def alexnet(pretrained: bool = False, **options: Any) -> AlexNet:
    """`pretrained` fetches torchvision's published weights."""
    network = AlexNet(options.get("num_classes") or 1000, options.get("in_chans", 3))
    if pretrained:
        _take_three_channels(network, dict(torchvision_alexnet_weights()))
    return network
