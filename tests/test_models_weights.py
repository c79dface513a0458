"""Weights that a training begins with: files, and those that pip brought."""

from __future__ import annotations

import importlib.machinery
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from models.errors import WeightsInvalid
from models.learning import weights
from models.learning.weights import PACKAGED, load_weights, packaged
from models.transfer import Network

SMALL = "resnet10t"
LITE = "tf_efficientnet_lite0"


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, env=env)
    assert "cannot be fetched from timm's hub" in done.stdout, done.stderr
    assert "--weights" in done.stdout and done.stdout.count("\n") == 1


def test_the_packaged_weights_go_into_the_network_layer_by_layer():
    path = packaged(LITE)
    assert path is not None, "a dependency of the project; install it again"
    network = Network(LITE, 3)
    load_weights(network, path)
    given = torch.load(path, map_location="cpu", weights_only=True)
    own = network.body.state_dict()
    assert torch.allclose(own["conv_stem.weight"], given["_conv_stem.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(own["conv_head.weight"], given["_conv_head.weight"])
    assert torch.equal(own["blocks.3.1.conv_dw.weight"], given["_blocks.6._depthwise_conv.weight"])
    assert own["classifier.weight"].shape == (3, 1280)
    assert network.grey == (0.5, 0.5)


def test_no_package_no_path_and_an_altered_one_is_refused(tmp_path, monkeypatch):
    assert packaged(SMALL) is None
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    assert packaged(LITE) is None
    package = tmp_path / "package"
    (package / "models").mkdir(parents=True)
    (package / PACKAGED[LITE].file).write_bytes(b"something else")
    spec = importlib.machinery.ModuleSpec("package", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(WeightsInvalid, match="not the pinned ones"):
        packaged(LITE)


def test_an_efficientnet_of_another_size_is_refused(tmp_path):
    with pytest.raises(WeightsInvalid, match="another network than tf_efficientnet_lite1"):
        load_weights(Network("tf_efficientnet_lite1", 3), packaged(LITE) or Path())
