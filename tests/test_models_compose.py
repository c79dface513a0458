"""Subclass probabilities are summed into classes."""

from __future__ import annotations

import numpy as np
import pytest

from models.compose import Composition

THREE = Composition(
    ("covid", "normal", "pneumonia"),
    ("covid-1", "covid-2", "normal-1", "pneumonia-1", "pneumonia-2"),
    (0, 0, 1, 2, 2),
)


def test_class_probabilities_are_sums():
    p = np.array([[0.1, 0.2, 0.3, 0.25, 0.15]])
    np.testing.assert_allclose(THREE.probabilities(p), [[0.3, 0.3, 0.4]], rtol=1e-6)


def test_the_subclass_belongs_to_the_label_even_where_another_is_likelier():
    # normal-1 is the likeliest of all subclasses, but covid is the likelier class.
    label, subclass = THREE.decide(np.array([[0.25, 0.3, 0.35, 0.05, 0.05]]))
    assert (label, subclass) == (["covid"], ["covid-2"])


def test_sums_stay_one():
    p = np.random.default_rng(0).dirichlet(np.ones(5), size=50)
    np.testing.assert_allclose(THREE.probabilities(p).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("parent", [(0, 0, 1), (0, 0, 1, 1, 1), (0, 1, 2, 3, 2)])
def test_each_subclass_has_a_class_and_each_class_a_subclass(parent):
    with pytest.raises(ValueError, match="each subclass belongs"):
        Composition(THREE.classes, THREE.subclasses, parent)


def test_members():
    assert THREE.members("pneumonia").tolist() == [3, 4]
