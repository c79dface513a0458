"""How far a picture lies from everything seen in training."""

from __future__ import annotations

import numpy as np
import pytest

from models.running.likeness import Likeness


def seen() -> tuple[np.ndarray, np.ndarray]:
    """Two subclasses that vary along three of ten directions."""
    chance = np.random.default_rng(0)
    X = chance.normal(0, 0.05, size=(120, 10))
    X[:, :3] += chance.normal(0, 1, size=(120, 3))
    X[60:, 0] += 8
    return X.astype(np.float32), np.repeat([0, 1], 60)


def test_distance_grows_off_the_centres_and_off_the_plane():
    X, subclass = seen()
    gate = Likeness.fit(X, subclass)
    near = gate.distance(X)
    centre = X[60:].mean(axis=0, keepdims=True)
    assert gate.distance(centre)[0] < np.median(near)
    along, across = centre.copy(), centre.copy()
    along[0, 1] += 30
    across[0, 7] += 30  # a direction in which training never varied
    assert gate.distance(along)[0] > near.max()
    assert gate.distance(across)[0] > near.max()


def test_arrays_bring_it_back_and_odd_ones_do_not():
    X, subclass = seen()
    gate = Likeness.fit(X, subclass)
    arrays = gate.to_arrays()
    np.testing.assert_array_equal(Likeness.from_arrays(arrays).distance(X), gate.distance(X))
    with pytest.raises(KeyError):
        Likeness.from_arrays({k: v for k, v in arrays.items() if k != "whiten"})
    with pytest.raises(ValueError, match="do not fit together"):
        Likeness.from_arrays(arrays | {"centres": arrays["centres"][:, 1:]})
