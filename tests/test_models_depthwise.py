"""The quick gradients of depthwise convolutions are PyTorch's own."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from models.learning.depthwise import QuickDepthwise, input_gradient, weight_gradient
from models.transfer import Network

SHAPES = list(itertools.product((3, 5), (1, 2), (11, 12), ((0, 0), (1, 0), (1, 1), (2, 2))))


@pytest.mark.parametrize(("side", "stride", "size", "padding"), SHAPES)
def test_gradients_are_those_of_pytorch(side: int, stride: int, size: int, padding: tuple[int, int]) -> None:
    chance = torch.Generator().manual_seed(side * 100 + size)
    x = torch.randn(3, 8, size, size + 1, dtype=torch.double, generator=chance, requires_grad=True)
    weight = torch.randn(8, 1, side, side, dtype=torch.double, generator=chance, requires_grad=True)
    y = functional.conv2d(x, weight, None, stride, padding, 1, 8)
    grad = torch.randn(y.shape, dtype=torch.double, generator=chance)
    of_x, of_weight = torch.autograd.grad(y, (x, weight), grad)
    assert torch.allclose(input_gradient(grad, x.detach(), weight.detach(), stride, padding), of_x)
    assert torch.allclose(weight_gradient(grad, x.detach(), weight.detach(), stride, padding), of_weight)


def gradients(network: Network, x: torch.Tensor, quick: bool, half: bool) -> dict[str, torch.Tensor]:
    """Of a loss that pulls the three answers apart; with or without the quick way, in bfloat16 or float32."""
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        if quick:
            with QuickDepthwise():
                answers = network(x).float()
        else:
            answers = network(x).float()
    ((answers - torch.arange(3)) ** 2).sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_a_network_learns_the_same() -> None:
    torch.manual_seed(3)
    network = Network("tf_efficientnet_lite0", 3).train()
    x = torch.randn(8, 1, 64, 64)
    exact = gradients(network, x, quick=False, half=False)
    plain = gradients(network, x, quick=False, half=True)
    quick = gradients(network, x, quick=True, half=True)
    off = {
        way: sum(float((told[name] - exact[name]).norm()) for name in exact)
        / sum(float(g.norm()) for g in exact.values())
        for way, told in (("plain", plain), ("quick", quick))
    }
    # Rounding to bfloat16 is what is off in both: the quick way may not add to it.
    assert off["quick"] < 1.1 * off["plain"], off


def test_other_convolutions_stay_as_they_are() -> None:
    x, weight = torch.randn(1, 4, 9, 9), torch.randn(6, 2, 3, 3)
    with QuickDepthwise(), torch.autocast("cpu", dtype=torch.bfloat16):
        grouped = functional.conv2d(x, weight, None, 2, 1, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(grouped, functional.conv2d(x, weight, None, 2, 1, 1, 2))
