"""The estimator that joins decompose, transfer and compose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_fixtures import recipe_of_seconds
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from models.detrac import DeTraC
from models.errors import OptionsInvalid
from models.learning import recipes
from models.learning.loop import Progress

LABELS = ("covid", "normal", "pneumonia")


@pytest.fixture(scope="module", autouse=True)
def quick():
    with recipe_of_seconds("quick", 32, transfer_epochs=3):
        yield


@pytest.fixture(scope="module")
def fitted(quick) -> DeTraC:
    """For tests that only look."""
    return fit(random_state=4)


def pictures(n: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """The class is where the bright bar lies."""
    chance = np.random.default_rng(seed)
    X, y = [], []
    for i in range(n):
        x = chance.integers(40, 120, size=(40, 48), dtype=np.uint8)
        x[13 * (i % 3) : 13 * (i % 3) + 12, 6:42] = 230
        X.append(x)
        y.append(LABELS[i % 3])
    return X, np.array(y)


def fit(**options) -> DeTraC:
    X, y = pictures(48)
    validation = options.pop("validation", pictures(12, seed=1))
    extra = {name: options.pop(name) for name in ("tell", "groups") if name in options}
    return DeTraC("quick", **options).fit(X, y, validation=validation, **extra)


def test_it_learns_and_composes(fitted):
    X, y = pictures(30, seed=2)
    assert fitted.score(X, y) > 0.9
    assert fitted.classes_.tolist() == list(LABELS)
    assert fitted.composition_.subclasses == tuple(f"{label}-{i}" for label in LABELS for i in (1, 2))
    p, sub = fitted.predict_proba(X), fitted.predict_subclass_proba(X)
    np.testing.assert_allclose(p, sub.reshape(30, 3, 2).sum(axis=2), atol=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


def test_the_same_seed_gives_the_same_model(fitted):
    mine, theirs = fitted.network_.state_dict(), fit(random_state=4).network_.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_torchs_own_generator_is_left_alone():
    torch.manual_seed(11)
    wanted = torch.rand(3)
    torch.manual_seed(11)
    fit(epochs=2)
    assert torch.equal(torch.rand(3), wanted)


def test_validation_has_no_part_in_decomposition_or_scaling(fitted):
    other = fit(random_state=4, validation=pictures(12, seed=9))
    assert (fitted.mean_, fitted.std_) == (other.mean_, other.std_)
    arrays = other.decomposer_.to_arrays()
    assert all(np.array_equal(a, arrays[name]) for name, a in fitted.decomposer_.to_arrays().items())
    assert len(fitted.subclass_labels_) == 48


@pytest.mark.parametrize(("tuning", "moved"), [("shallow", False), ("deep", True)])
def test_a_shallow_transfer_leaves_the_features_as_they_were(tuning, moved):
    fitted = fit(tuning=tuning, epochs=4)
    after = fitted.embed(pictures(48)[0])
    assert np.allclose(after, fitted.features_, atol=1e-5) != moved


def test_a_fine_transfer_releases_layers_and_keeps_the_best():
    fitted = fit(tuning="fine", epochs=9)
    losses = [row["val_loss"] for row in fitted.log_ if row["stage"] == "transfer"]
    X, y = pictures(12, seed=1)
    p = fitted.predict_proba(X)[np.arange(12), np.searchsorted(fitted.classes_, y)]
    # Training judges in its own, coarser precision.
    assert -np.log(p).mean() == pytest.approx(min(losses), abs=0.02)


def test_without_validation_whole_groups_are_kept_aside():
    X, y = pictures(48)
    told: list[Progress] = []
    fitted = DeTraC("quick", epochs=2).fit(X, y, groups=[str(i // 8) for i in range(48)], tell=told.append)
    assert len(fitted.subclass_labels_) == 40
    assert [p.stage for p in told] == ["backbone", "decompose", "decompose", "transfer"]


def test_scikit_learn_conventions():
    made = DeTraC("quick", k=3, random_state=1)
    assert clone(made).get_params() == made.get_params()
    with pytest.raises(NotFittedError):
        made.predict(pictures(3)[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 17}, "k = 17 is larger than class covid, which has 16"),
        ({"tuning": "wide"}, "no tuning 'wide'"),
        ({"recipe": "secret"}, "no recipe 'secret'"),
        ({"epochs": 1}, "epochs must be at least 2"),
        ({"lr": -1.0}, "lr must be above 0"),
        ({"backbone": "resnetty"}, "no network 'resnetty'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(options, words):
    X, y = pictures(48)
    told: list[Progress] = []
    with pytest.raises(OptionsInvalid, match=words):
        DeTraC(**{"recipe": "quick", **options}).fit(X, y, validation=pictures(12), tell=told.append)
    assert not told


def test_one_picture_of_a_class_cannot_be_kept_aside():
    X, y = pictures(7)
    with pytest.raises(OptionsInvalid, match="one picture or one patient"):
        DeTraC("quick").fit(X[:4], y[:4])


def test_teachers_learn_first_and_both_stages_from_them(monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "quick", replace(recipes.RECIPES["quick"], teachers=2))
    told: list[Progress] = []
    fitted = fit(tell=told.append)
    stages = list(dict.fromkeys(step.stage for step in told))
    assert stages == ["teacher 1", "teacher 2", "backbone", "decompose", "transfer"]
    # Else they would say one thing twice.
    losses = [[row["loss"] for row in fitted.log_ if row["stage"] == f"teacher {n}"] for n in (1, 2)]
    assert losses[0] != losses[1]
    assert fitted.score(*pictures(30, seed=2)) > 0.9


def test_pupils_follow_teachers_against_the_labels(monkeypatch):
    """Half of the labels of one class are wrong; the teachers, who are right, are believed.

    By a larger network than in the other tests: with few weights the labels alone come near.
    """
    monkeypatch.setitem(recipes.RECIPES, "quick", replace(recipes.RECIPES["quick"], backbone="resnet10t"))
    X, y = pictures(48)
    wrong = np.where((y == "covid") & (np.arange(48) % 2 == 0), "normal", y)

    knows = DeTraC("quick", k=1).fit(X, y, validation=pictures(12, seed=1)).network_.state_dict()
    plainly = DeTraC._stage

    def know_better(self, name, network, *rest):
        if name.startswith("teacher"):
            network.load_state_dict(knows)
        else:
            plainly(self, name, network, *rest)

    alone = DeTraC("quick", k=1).fit(X, wrong, validation=pictures(12, seed=1))
    monkeypatch.setitem(recipes.RECIPES, "quick", replace(recipes.RECIPES["quick"], teachers=1))
    monkeypatch.setattr(DeTraC, "_stage", know_better)
    taught = DeTraC("quick", k=1).fit(X, wrong, validation=pictures(12, seed=1))
    ask, truth = pictures(60, seed=2)
    sick = truth == "covid"
    assert taught.predict_proba(ask)[sick, 0].mean() > alone.predict_proba(ask)[sick, 0].mean() + 0.05


def test_what_is_cut_off_is_not_seen(monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "quick", replace(recipes.RECIPES["quick"], crop=0.1))
    fitted = fit()
    plain = pictures(6, seed=2)[0]
    framed = [x.copy() for x in plain]
    for x in framed:
        x[:1], x[-1:], x[:, :1], x[:, -1:] = 255, 255, 255, 255
    np.testing.assert_array_equal(fitted.predict_proba(plain), fitted.predict_proba(framed))
