"""The engines that run a network: they agree, the quicker one is chosen once, and what cannot be had is passed over."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import OptionsInvalid
from models.running import engine
from models.running.passes import Pass
from models.transfer import Network

SIZE = 64


@pytest.fixture(scope="module", params=["regnetx_002", "mobilenetv3_small_050"])
def whole(request: pytest.FixtureRequest) -> Pass:
    """A network whose map is free, and one whose is not."""
    torch.manual_seed(1)
    network = Network(request.param, 5).eval()
    mapped = request.param.startswith("regnet")
    return Pass(network, 0.5, 0.25, np.array([1, 3]), 1.3, mapped)


@pytest.fixture(scope="module")
def compiled(whole: Pass) -> engine.OpenVinoEngine:
    """The same for OpenVINO; to compile it is most of what these tests cost."""
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    return engine.OpenVinoEngine(whole, SIZE, 2)


def pictures(count: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, 1, SIZE, SIZE), generator=chance, dtype=torch.uint8)


@pytest.mark.parametrize("count", [1, 8, 9, 37])
def test_openvino_says_what_pytorch_says(whole: Pass, compiled: engine.OpenVinoEngine, count: int) -> None:
    inputs = pictures(count)
    one, other = engine.TorchEngine(whole)(inputs), compiled(inputs)
    for first, second in zip(one, other, strict=True):
        if first is None or second is None:
            assert first is second is None and not whole.mapped
        else:
            assert first.shape == second.shape and len(first) == count
            np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)


def test_an_answer_depends_on_its_picture_alone(whole: Pass) -> None:
    chosen = engine.choose("auto", whole, SIZE, 1, 2)
    many, one = chosen(pictures(20)), chosen(pictures(20)[13:14])
    np.testing.assert_allclose(many[0][13], one[0][0], atol=1e-6)


def test_the_choice_is_kept_and_measured_once(whole: Pass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    remember = tmp_path / "cache" / "engines.json"
    chosen = engine.choose("auto", whole, SIZE, 1, 1, remember, "k")
    (kept,) = json.loads(remember.read_text()).values()
    assert kept["engine"] == chosen.name
    assert chosen.name == max(kept["images_a_second"], key=kept["images_a_second"].get)

    def never(*_: object) -> float:
        raise AssertionError("measured again")

    monkeypatch.setattr(engine, "_rate", never)
    assert engine.choose("auto", whole, SIZE, 1, 1, remember, "k").name == chosen.name
    with pytest.raises(AssertionError, match="measured again"):
        engine.choose("auto", whole, SIZE, 1, 1, remember, "another bundle")


def test_an_engine_that_disagrees_or_is_missing_is_passed_over(
    whole: Pass, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    monkeypatch.setattr(engine, "AGREE", -1.0)
    assert engine.choose("openvino", whole, SIZE, 1, 1).name == "torch"
    assert "OpenVINO is not used: its probabilities lie up to" in caplog.text
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "openvino.frontend", None)
    assert engine.choose("auto", whole, SIZE, 1, 1).name == "torch"
    damaged = tmp_path / "engines.json"
    damaged.write_text("{")
    monkeypatch.undo()
    assert engine.choose("auto", whole, SIZE, 1, 1, damaged, "k").name in engine.ENGINES


def test_a_name_that_is_no_engine(whole: Pass) -> None:
    with pytest.raises(OptionsInvalid, match="no engine 'tpu'; there are auto, torch, openvino, card, half"):
        engine.choose("tpu", whole, SIZE, 1, 1)
