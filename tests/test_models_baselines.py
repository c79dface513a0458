"""The baselines: texture features, AlexNet as a network like the others, and which rows stand in the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.data import CLASSES, POSITIVE, Row
from models.errors import OptionsInvalid
from models.evaluation import report
from models.studies import baselines
from models.studies.measures import Measures, Scored
from models.studies.study import StudyOptions
from models.studies.texture import TextureSVM, texture
from models.transfer import Network, layer_groups, release


def woven(n: int, seed: int = 0) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Three textures of the same mean grey: fine grain, coarse grain, stripes; two pictures a patient."""
    chance = np.random.default_rng(seed)
    pictures, labels, patients = [], [], []
    for i in range(n):
        label = CLASSES[(i // 2) % 3]
        grain = chance.normal(0, 30, (64, 64))
        if label == "normal":
            grain = np.kron(chance.normal(0, 30, (16, 16)), np.ones((4, 4)))
        elif label == "pneumonia":
            grain = 30 * np.sin(np.arange(64) / 2 + chance.uniform(0, 6))[None, :] + chance.normal(0, 8, (64, 64))
        pictures.append(np.clip(128 + grain, 0, 255).astype(np.uint8))
        labels.append(label)
        patients.append(f"p{i // 2}")
    return pictures, labels, patients


def test_texture_and_a_support_vector_machine_tell_textures_apart():
    pictures, labels, patients = woven(36)
    machine = TextureSVM().fit(pictures, labels, patients)
    others, truth, _ = woven(18, seed=1)
    assert (machine.predict(others) == np.array(truth)).mean() > 0.9
    assert machine.decision_function(others).shape == (18, 3)
    assert machine.classes_.tolist() == list(CLASSES)
    assert machine.best_["balanced_accuracy"] > 0.9


def test_texture_is_blind_to_where_things_are_but_for_the_quarters():
    picture = woven(1)[0][0]
    flat = np.full_like(picture, 128)
    assert np.isfinite(texture(flat)).all()
    assert not np.allclose(texture(picture), texture(flat))


def test_a_class_of_one_patient_is_said_in_one_line():
    pictures, labels, _ = woven(12)
    with pytest.raises(OptionsInvalid, match="two patients of each class"):
        TextureSVM().fit(pictures, labels, ["one"] * 12)


def test_alexnet_has_the_doors_of_every_other_network():
    network = Network("alexnet", 3).eval()
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    features, pooled = network.features(x)
    assert features.shape == (2, 256, 1, 1)
    assert pooled.shape == (2, 4096) and network.head.in_features == 4096
    torch.testing.assert_close(network(x), network.body(x))
    before = network(x).softmax(dim=1)
    parent = torch.tensor([0, 0, 1, 2])
    network.split_head(parent)
    torch.testing.assert_close(torch.zeros(2, 3).index_add_(1, parent, network(x).softmax(dim=1)), before)
    assert len(layer_groups(network)) > 3
    release(network, 1)
    free = {name for name, p in network.body.named_parameters() if p.requires_grad}
    assert free == {"classifier.6.weight", "classifier.6.bias", "classifier.4.weight", "classifier.4.bias"}


def test_every_baseline_has_a_row_and_the_slow_ones_come_last():
    weights = Path("w.safetensors")
    entries = baselines.plan(StudyOptions(seeds=(0, 1), size=96, epochs=10, weights=weights))
    names = [entry.group for entry in entries]
    assert set(names) == set(baselines.NAMES) and list(dict.fromkeys(names))[-3:] == ["alexnet", "xception", "vgg19"]
    assert names.count("texture") == 1 and names.count("ours") == 2
    began = {entry.group: entry.options.get("weights") for entry in entries}
    assert {name for name, file in began.items() if file == weights} == {"plain", "shallow", "fine", "deep", "ours"}
    plain = next(entry for entry in entries if entry.group == "plain")
    ours = next(entry for entry in entries if entry.group == "ours")
    assert {**plain.options, "k": None} == dict(ours.options) | {"k": None}


def test_an_unknown_baseline_is_named():
    with pytest.raises(OptionsInvalid, match="no baseline 'vgg'; there are texture, alexnet"):
        baselines.plan(StudyOptions(), ["vgg"])


def test_a_line_of_the_table_says_what_evaluate_says():
    chance = np.random.default_rng(3)
    rows = tuple(Row(Path(str(i)), str(i), CLASSES[i % 3], f"p{i // 2}", "ab"[i % 2], "test") for i in range(40))
    p = chance.dirichlet((1, 1, 1), 40)
    told = report(rows, p, CLASSES, POSITIVE, 0.4, resamples=80)
    measures = Measures(rows, 80)
    scored = [Scored(p, 0.4)]
    assert measures.mean("accuracy", scored) == told["accuracy"]
    assert measures.mean("balanced_accuracy", scored) == told["balanced_accuracy"]
    assert measures.mean("within_source_auroc", scored) == told["within_source_auroc"]
    assert measures.mean("covid_vs_normal", scored) == told["covid_vs_normal"]["accuracy"]
    for name in ("auroc", "sensitivity", "specificity"):
        assert measures.mean(name, scored) == told["covid"][name]
