"""A model in a folder: written, read back, and refused when it is not what it claims to be."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from cxrscreen.imaging import PREPROCESSING
from models import bundle
from models.bundle import BundleError
from models.explain import local_evidence, to_heat, uncropped
from models.running.likeness import Likeness
from models.transfer import Network

SUBCLASSES = [("covid-1", "covid"), ("covid-2", "covid"), ("normal-1", "normal"), ("pneumonia-1", "pneumonia")]


def record(**changes) -> dict:
    made = {
        "name": "test", "created": None, "backbone": "resnet10t", "output_stride": 0, "pretrained": False,
        "classes": ["covid", "normal", "pneumonia"],
        "subclasses": [{"name": name, "class": parent, "n": 1} for name, parent in SUBCLASSES],
        "k": {"covid": 2, "normal": 1, "pneumonia": 1}, "positive": "covid", "input_size": 64,
        "mean": 0.5, "std": 0.25, "preprocessing": PREPROCESSING, "threshold": 0.5, "temperature": 1.5,
        "heat_scale": 5.0, "distance_limit": 4.0, "phantom": True, "figures": {}, "data": {}, "recipe": {},
    }  # fmt: skip
    return made | changes


def pictures(n: int, seed: int = 0) -> list[np.ndarray]:
    chance = np.random.default_rng(seed)
    return [chance.integers(0, 256, size=(60 + 3 * i, 80), dtype=np.uint8) for i in range(n)]


@pytest.fixture(scope="module")
def parts() -> tuple[Network, Likeness]:
    torch.manual_seed(0)
    network = Network("resnet10t", 4).eval()
    features = np.random.default_rng(0).normal(size=(40, 512)).astype(np.float32)
    return network, Likeness.fit(features, np.arange(40) % 4)


@pytest.fixture
def folder(tmp_path, parts) -> Path:
    return bundle.save(tmp_path / "b", record(), *parts, {"decompose.covid.mean": np.zeros(3)})


def rewrite(folder: Path, **changes) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reweigh(folder: Path, content: bytes) -> None:
    """Other weights, with a record that vouches for them."""
    (folder / "model.safetensors").write_bytes(content)
    rewrite(folder, weights={"file": "model.safetensors", "sha256": hashlib.sha256(content).hexdigest()})


def test_what_was_saved_is_what_is_loaded(folder, parts):
    loaded = bundle.load(folder)
    direct = bundle.Screener(record(), *parts)
    for mine, theirs in zip(loaded.network.parameters(), parts[0].parameters(), strict=True):
        assert torch.equal(mine, theirs)
    one, other = loaded.predict(pictures(3)), direct.predict(pictures(3))
    assert np.array_equal(one.score, other.score)
    assert np.array_equal(one.distance, other.distance)
    assert (one.label, one.subclass, one.heat) == (other.label, other.subclass, other.heat)


def test_equal_models_are_equal_bytes(folder, tmp_path, parts):
    again = bundle.save(tmp_path / "c", record(), *parts, {"decompose.covid.mean": np.zeros(3)})
    for name in ("bundle.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "model.safetensors"]


def test_a_picture_does_not_depend_on_its_neighbours(folder):
    screener, many = bundle.load(folder), pictures(40)
    together = screener.predict(many)
    for i in (0, 17, 39):
        alone = screener.predict([many[i]])
        np.testing.assert_allclose(alone.subclass_p[0], together.subclass_p[i], atol=1e-5)
        np.testing.assert_allclose(alone.distance[0], together.distance[i], atol=1e-4)
        assert alone.subclass[0] == together.subclass[i]
    back = screener.predict(many[::-1])
    np.testing.assert_allclose(back.score[::-1], together.score, atol=1e-5)


def test_predictions_have_the_shapes_they_promise(folder):
    answers = bundle.load(folder).predict(pictures(5))
    assert answers.subclass_p.shape == (5, 4) and answers.subclass_p.dtype == np.float32
    np.testing.assert_allclose(answers.class_p[:, 0], answers.subclass_p[:, :2].sum(axis=1), atol=1e-6)
    np.testing.assert_array_equal(answers.score, answers.class_p[:, 0])
    for heat in answers.heat:
        height, width = heat[0], heat[1]
        assert len(heat) == 2 + height * width and height == width == 2
    empty = bundle.load(folder).predict([])
    assert len(empty.score) == len(empty.label) == len(empty.heat) == len(empty.distance) == 0


def test_a_map_of_one_place_is_the_score_itself(folder):
    """Where every place of the map is alike, each speaks for the class as much as the whole picture does."""
    screener = bundle.load(folder)
    head, members = screener.network.head, screener.composition.members("covid")
    flat = torch.randn(3, 512, 1, 1).expand(3, 512, 2, 2)
    with torch.no_grad():
        evidence = local_evidence(flat, head, members, 1.5)
        p = (head(flat.mean(dim=(2, 3))) / 1.5).softmax(dim=1)[:, :2].sum(dim=1)
    torch.testing.assert_close(evidence, torch.logit(p)[:, None, None].expand(3, 2, 2), rtol=1e-3, atol=1e-3)


def test_a_map_of_what_was_left_lies_in_the_middle_of_the_whole_picture():
    evidence = torch.ones(1, 8, 8)
    assert torch.equal(uncropped(evidence, 0.0), evidence)
    whole = uncropped(evidence, 0.2)
    assert whole.shape == (1, 10, 10)
    expected = torch.zeros(1, 10, 10)
    expected[:, 2:-2, 2:-2] = 1  # a fifth of each side was cut off, and nothing is known of it
    assert torch.allclose(whole, expected, atol=1e-5)


def test_heat_is_nothing_where_a_place_speaks_against_and_full_from_the_scale_on():
    assert to_heat(torch.tensor([[-9.0, 0.0, 2.5, 5.0, 50.0]]), 5.0).tolist() == [[0, 0, 128, 255, 255]]


def test_a_backbone_without_pooled_linear_head_has_no_map(tmp_path):
    torch.manual_seed(0)
    made = record(backbone="mobilenetv3_small_050", distance_limit=None)
    answers = bundle.load(bundle.save(tmp_path / "b", made, Network("mobilenetv3_small_050", 4), None, {})).predict(
        pictures(2)
    )
    assert answers.heat == [None, None]
    assert answers.distance is None


def test_unlike(folder):
    screener = bundle.load(folder)
    assert screener.unlike(4.1) and not screener.unlike(3.9)
    rewrite(folder, distance_limit=None)
    assert not bundle.load(folder).unlike(1e9)


def line(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        bundle.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_files_are_named(folder, tmp_path):
    assert "it has no bundle.json" in line(tmp_path / "nothing")
    (folder / "model.safetensors").unlink()
    assert "no weights file model.safetensors" in line(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "cxrscreen-bundle/9"}, "has format 'cxrscreen-bundle/9'"),
        ({"preprocessing": "cxr8-0"}, "pixels prepared by 'cxr8-0'"),
        ({"backbone": "resnet99"}, "no network 'resnet99'"),
        ({"backbone": "local-dir:/etc"}, "no network"),
        ({"output_stride": 7}, "cannot be built"),
        ({"backbone": "resnet18"}, "does not hold a resnet18"),
        ({"threshold": "high"}, "threshold is 'high'"),
        ({"input_size": True}, "input_size is True"),
        ({"temperature": 0}, "are above 0"),
        ({"input_size": 2}, "input_size is between"),
        ({"positive": "flu"}, "do not fit together"),
        ({"subclasses": [{"name": "a", "class": "b"}]}, "do not fit together"),
        ({"subclasses": ["covid"]}, "do not fit together"),
        ({"weights": {"file": "../model.safetensors", "sha256": ""}}, "no weights file"),
        ({"weights": {}}, "no weights file"),
        ({"distance_limit": float("nan")}, "it holds NaN"),
    ],
)
def test_a_record_that_cannot_be_is_refused_in_one_line(folder, changes, words):
    rewrite(folder, **changes)
    assert words in line(folder)


def test_a_record_that_is_no_json_or_lacks_a_field(folder):
    path = folder / "bundle.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in whole.items() if k != "mean"}))
    assert "lacks mean" in line(folder)
    path.write_text("[1, 2]")
    assert "has format None" in line(folder)
    path.write_bytes(b"\xff\xfe{")
    assert "is not the JSON of a bundle" in line(folder)


def test_one_flipped_bit_of_the_weights_is_noticed(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    assert "its SHA-256 differs" in line(folder)


def test_a_pickle_is_not_read_even_when_the_record_vouches_for_it(folder):
    reweigh(folder, pickle.dumps({"network.body.conv1.weight": [1.0]}))
    assert "is no safetensors file" in line(folder)
    reweigh(folder, b"")
    assert "is no safetensors file" in line(folder)


def test_weights_of_other_shapes_or_names_are_refused(folder):
    tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    name = "network.body.fc.weight"
    reweigh(folder, safetensors.torch.save(tensors | {name: torch.zeros(3, 512)}))
    assert "body.fc.weight is (3, 512), not (4, 512)" in line(folder)
    reweigh(folder, safetensors.torch.save({k: v for k, v in tensors.items() if k != name}))
    assert "it lacks body.fc.weight" in line(folder)
    reweigh(folder, safetensors.torch.save(tensors | {"network.extra": torch.zeros(1)}))
    assert "has no place for extra" in line(folder)
    reweigh(folder, safetensors.torch.save({k: v for k, v in tensors.items() if "likeness" not in k}))
    assert "no whole gate" in line(folder)


def halve(folder):
    tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    half = {k: v.half() if k.startswith("network.") and v.is_floating_point() else v for k, v in tensors.items()}
    reweigh(folder, safetensors.torch.save(half))


def test_half_precision_weights_are_read(folder):
    before = bundle.load(folder).predict(pictures(2)).score
    halve(folder)
    record = json.loads((folder / "bundle.json").read_text())
    del record["feature_space"]
    (folder / "bundle.json").write_text(json.dumps(record))
    np.testing.assert_allclose(bundle.load(folder).predict(pictures(2)).score, before, atol=0.01)


def test_a_feature_space_of_other_weights_is_refused(folder):
    """Else kept features of one backbone would be read by the head of another."""
    halve(folder)
    assert "does not hold the backbone that its feature_space names" in line(folder)


def test_the_edge_is_cut_off_as_in_training(tmp_path, parts):
    """A crop in the record: the border has no say."""
    screener = bundle.load(bundle.save(tmp_path / "b", record(crop=0.2), *parts, {}))
    plain = pictures(1)[0]
    framed = plain.copy()
    edge = int(0.15 * min(plain.shape))
    framed[:edge] = framed[-edge:] = 255
    framed[:, :edge] = framed[:, -edge:] = 0
    np.testing.assert_array_equal(screener.predict([plain]).subclass_p, screener.predict([framed]).subclass_p)


@pytest.mark.parametrize("crop", [-0.1, 0.4, "0.1", None])
def test_a_crop_that_leaves_no_picture_is_refused(folder, crop):
    rewrite(folder, crop=crop)
    assert "crop" in line(folder)


def test_the_format_before_is_read_as_one_without_a_crop(folder):
    before = bundle.load(folder).predict(pictures(2)).score
    record = json.loads((folder / "bundle.json").read_text())
    del record["feature_space"]
    (folder / "bundle.json").write_text(json.dumps(record | {"format": "cxrscreen-bundle/2"}))
    np.testing.assert_array_equal(bundle.load(folder).predict(pictures(2)).score, before)


def test_a_bundle_written_over_another_is_never_half_of_each(folder, parts, monkeypatch):
    """Where writing stops before the record, the folder is no bundle rather than a wrong one."""
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if Path(target).name == "bundle.json":
            raise OSError("disk full")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(OSError, match="disk full"):
        bundle.save(folder, record(name="new"), *parts, {})
    assert "it has no bundle.json" in line(folder)
