"""A timm network with a new head, and how much of it may learn."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from itertools import pairwise

import pytest
import safetensors.torch
import torch

from models.errors import OptionsInvalid, WeightsInvalid
from models.transfer import Network, layer_groups, load_weights, release, train_mode

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


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_weights_come_back_and_three_channels_become_one(tmp_path, name):
    given = Network(SMALL, 7)
    state = given.body.state_dict()
    first = next(iter(k for k, v in state.items() if v.ndim == 4))
    state[first] = (state[first] / 3).repeat(1, 3, 1, 1)
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save({"state_dict": state}, path)
    else:
        safetensors.torch.save_file(state, path)
    network = Network(SMALL, 3)
    head = network.head.weight.detach().clone()
    load_weights(network, path)
    own = network.body.state_dict()
    assert all(torch.allclose(own[k], v) for k, v in given.body.state_dict().items() if not k.startswith("fc"))
    assert torch.equal(network.head.weight, head)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    for other, words in (("regnetx_002", "it has no conv1"), ("resnet18", "another network than resnet10t")):
        path = tmp_path / f"{other}.safetensors"
        safetensors.torch.save_file(Network(other, 3).body.state_dict(), path)
        with pytest.raises(WeightsInvalid, match=words) as caught:
            load_weights(Network(SMALL, 3), path)
        assert "\n" not in str(caught.value)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, ("/tmp/should-never-be-opened",))


def test_a_weights_file_runs_no_code(tmp_path):
    path = tmp_path / "trap.pth"
    path.write_bytes(pickle.dumps({"state_dict": Trap()}, protocol=2))
    torch.save({"state_dict": Trap()}, tmp_path / "zip.pth")
    for file in (path, tmp_path / "zip.pth"):
        with pytest.raises(WeightsInvalid, match="holds no weights"):
            load_weights(Network(SMALL, 3), file)


@pytest.mark.parametrize(("content", "words"), [(b"hello", "holds no weights"), (None, "There is no weights file")])
def test_what_is_no_weights_file_is_refused(tmp_path, content, words):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsInvalid, match=words):
        load_weights(Network(SMALL, 3), path)


def test_pretrained_weights_that_cannot_be_fetched_are_told_in_one_line(tmp_path):
    code = (
        "from models.errors import WeightsInvalid\nfrom models.transfer import Network\n"
        "try:\n    Network('resnet10t', 3, pretrained=True)\nexcept WeightsInvalid as error:\n    print(error)"
    )
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    assert "cannot be fetched from timm's hub" in done.stdout, done.stderr
    assert "--weights" in done.stdout and done.stdout.count("\n") == 1
