"""Classes become subclasses, by scikit-learn's conventions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from models.decompose import ClassDecomposer
from models.errors import OptionsInvalid


def blobs(centres: dict[str, list[tuple[float, int]]], width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Features of classes, each a list of (place, size) of its clusters."""
    chance = np.random.default_rng(0)
    X, y = [], []
    for label, clusters in centres.items():
        for place, size in clusters:
            X.append(chance.normal(place, 1.0, size=(size, width)))
            y += [label] * size
    return np.concatenate(X), np.array(y)


TWO_AND_ONE = {"covid": [(0, 15), (12, 25)], "normal": [(3, 30)]}


def test_auto_finds_the_clusters_that_are_there_and_leaves_a_whole_class_whole():
    X, y = blobs(TWO_AND_ONE, width=12)
    fitted = ClassDecomposer("auto", min_silhouette=0.2).fit(X, y)
    assert fitted.k_ == {"covid": 2, "normal": 1}
    assert fitted.subclasses_ == ["covid-1", "covid-2", "normal-1"]
    assert fitted.parent_.tolist() == [0, 0, 1]
    # Larger first: the cluster of 25 is covid-1.
    assert fitted.labels_.tolist() == [1] * 15 + [0] * 25 + [2] * 30


def test_auto_takes_no_cluster_below_the_least_size():
    X, y = blobs({"covid": [(0, 40), (20, 2)], "normal": [(0, 20)]})
    assert ClassDecomposer("auto", min_cluster=5, min_silhouette=0.3).fit(X, y).k_["covid"] == 1
    assert ClassDecomposer("auto", min_cluster=2, min_silhouette=0.3).fit(X, y).k_["covid"] == 2


def test_k_can_differ_between_classes():
    X, y = blobs(TWO_AND_ONE)
    fitted = ClassDecomposer({"covid": 3, "normal": 2}).fit(X, y)
    assert fitted.k_ == {"covid": 3, "normal": 2}
    assert sorted(np.unique(fitted.labels_)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("k", "words"),
    [
        (31, "k = 31 is larger than class normal, which has 30"),
        (0, "k is 'auto' or a whole number"),
        ("two", "k is 'auto' or a whole number"),
        ({"covid": 2}, "not for normal"),
    ],
)
def test_a_k_that_cannot_be_is_named(k, words):
    X, y = blobs(TWO_AND_ONE)
    with pytest.raises(OptionsInvalid, match=words):
        ClassDecomposer(k).fit(X, y)


def test_equal_pictures_cannot_be_split():
    with pytest.raises(OptionsInvalid, match="fewer than k = 2 different images"), pytest.warns(Warning):
        ClassDecomposer(2).fit(np.ones((8, 3)), np.array(["a"] * 4 + ["b"] * 4))


def test_the_same_seed_gives_the_same_subclasses():
    X, y = blobs({"covid": [(0, 40)], "normal": [(1, 40)]})
    first, second = (ClassDecomposer(3, random_state=5).fit(X, y) for _ in range(2))
    assert np.array_equal(first.labels_, second.labels_)
    assert all(np.array_equal(a, second.to_arrays()[name]) for name, a in first.to_arrays().items())


def test_new_rows_go_to_the_nearest_subclass_of_their_class():
    X, y = blobs(TWO_AND_ONE)
    fitted = ClassDecomposer({"covid": 2, "normal": 1}).fit(X, y)
    assert np.array_equal(fitted.predict(X, y), fitted.labels_)
    near_small = np.full((1, 6), 0.2)
    assert fitted.predict(near_small, ["covid"]).tolist() == [1]
    assert fitted.predict(near_small, ["normal"]).tolist() == [2]
    assert fitted.transform(X).shape == (70, 3)
    with pytest.raises(ValueError, match="not seen in fit"):
        fitted.predict(near_small, ["lung"])


def test_scikit_learn_conventions():
    X, y = blobs(TWO_AND_ONE)
    made = ClassDecomposer(k=2, pca_share=0.9, random_state=3)
    assert clone(made).get_params() == made.get_params()
    with pytest.raises(NotFittedError):
        made.transform(X)
    fitted = made.fit(X, y)
    assert fitted is made
    assert fitted.n_features_in_ == 6
    assert made.get_params()["k"] == 2
    assert np.array_equal(clone(made).fit_predict(X, y), fitted.labels_)
    with pytest.raises(ValueError, match="6 features"):
        fitted.transform(X[:, :5])
    with pytest.raises(ValueError, match="NaN"):
        clone(made).fit(np.full_like(X, np.nan), y)


def test_arrays_bring_it_back():
    X, y = blobs(TWO_AND_ONE)
    fitted = ClassDecomposer(2).fit(X, y)
    again = ClassDecomposer.from_arrays(fitted.to_arrays())
    assert again.subclasses_ == fitted.subclasses_
    np.testing.assert_allclose(again.transform(X), fitted.transform(X))


def test_a_class_of_one_picture_is_its_own_subclass():
    X, y = blobs({"covid": [(0, 10)], "normal": [(9, 1)]})
    fitted = ClassDecomposer("auto").fit(X, y)
    assert fitted.k_["normal"] == 1
    assert fitted.predict(X)[-1] == fitted.labels_[-1]
