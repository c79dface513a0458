"""A timm network with a new head, and how much of it may learn."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from models.errors import OptionsInvalid
from models.transfer import Network, glance_width, layer_groups, release, train_mode

SMALL = "resnet10t"


def pictures(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def free(network: Network) -> set[str]:
    return {name for name, p in network.body.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("backbone", [SMALL, "regnetx_002", "mobilenetv3_small_050", "test_convnext"])
def test_a_backbone_gives_a_map_pooled_features_and_logits(backbone):
    network = Network(backbone, 5).eval()
    features, pooled = network.features(pictures())
    assert features.ndim == 4
    assert pooled.shape == (2, network.head.in_features)
    torch.testing.assert_close(network(pictures()), network.head(pooled))


@pytest.mark.parametrize(
    ("backbone", "words"),
    [("resnet1O", "no network 'resnet1O'"), ("hf-hub:some/where", "no network"), ("resnet10t_twin", "for example")],
)
def test_an_unknown_backbone_is_named_and_nothing_is_fetched(backbone, words):
    with pytest.raises(OptionsInvalid, match=words):
        Network(backbone, 3)


def test_a_network_without_one_linear_layer_at_its_end_is_refused():
    with pytest.raises(OptionsInvalid, match="one linear layer"):
        Network("deit_tiny_distilled_patch16_224", 3)


def test_shallow_fine_and_deep_release_more_and_more():
    network = Network(SMALL, 3)
    groups = layer_groups(network)
    every = {name for name, _ in network.body.named_parameters()}
    seen = []
    for released in (0, 1, 2, len(groups), None):
        release(network, released)
        seen.append(free(network))
    assert seen[0] == {"fc.weight", "fc.bias"}
    assert all(less < more for less, more in pairwise(seen[:4]))
    assert seen[3] == seen[4] == every
    assert any(name.startswith("layer4") for name in seen[1])
    assert not any(name.startswith("layer1") for name in seen[2])


def test_frozen_layers_keep_their_batch_statistics():
    network = Network(SMALL, 3)
    release(network, 1)
    train_mode(network)
    before = {name: buffer.clone() for name, buffer in network.body.named_buffers()}
    network(pictures(4))
    moved = {name for name, buffer in network.body.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved
    assert all(name.startswith("layer4") for name in moved)


def test_splitting_the_head_leaves_the_composed_answer_as_it_was():
    network = Network(SMALL, 3).eval()
    parent = torch.tensor([0, 0, 1, 2, 2, 2])
    before = network(pictures()).softmax(dim=1)
    network.split_head(parent)
    after = torch.zeros(2, 3).index_add_(1, parent, network(pictures()).softmax(dim=1))
    torch.testing.assert_close(after, before)


def test_a_look_gives_what_features_give_and_the_earlier_maps_means():
    network = Network(SMALL, 3).eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        features, pooled = network.features(x)
        again, flat, glance = network.look(x)
        first = network.body.forward_intermediates(x, indices=[0], intermediates_only=True)[0]
    assert torch.equal(again, features) and torch.equal(flat, pooled)
    assert glance.shape == (2, glance_width(network, 64)) and not torch.equal(glance, pooled)
    assert torch.allclose(glance[:, : first.shape[1]], first.mean(dim=(2, 3)))


def test_layers_that_cannot_be_reached_leave_the_pooled_features():
    network = Network(SMALL, 3).eval()
    network.layered = False
    with torch.no_grad():
        _, pooled, glance = network.look(torch.randn(1, 1, 64, 64))
    assert torch.equal(pooled, glance)
