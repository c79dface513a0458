"""Decompose: each class is split into subclasses by clustering its deep features.

After Abbas, Abdelsamea, Gaber, Applied Intelligence 2020 (DeTraC), section 3.1: features of the last hidden layer,
principal components, k-means for each class. Fitted on training images only: a new picture gets its subclass from the
network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from models.errors import OptionsInvalid

Floats = npt.NDArray[np.float64]
PARTS = ("mean", "scale", "pca_mean", "components", "centres")


class ClassDecomposer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Per class: standardise, keep the components that hold `pca_share` of the variance, cluster with k-means.

    Parameters
    ----------
    k : "auto", int or dict of class to int
        Subclasses for each class. "auto" takes the k in 2..k_max with the best silhouette whose smallest cluster has
        at least `min_cluster` members; where none has, or none reaches `min_silhouette`, the class stays whole (k = 1).
    pca_share : share of the variance that is kept, 0 < share <= 1.
    min_cluster : least members of a subclass: a number, or a share of the class when below 1.
    random_state : seed of k-means; the same seed gives the same subclasses.

    Attributes
    ----------
    classes_ : class labels, sorted. subclasses_ : names, "covid-1" being the largest of its class.
    parent_ : int [S], each subclass's class. k_ : dict of class to k. labels_ : int [N], subclass of each training row.
    silhouettes_ : dict of class to {k: silhouette}. n_features_in_ : width of a feature vector.
    """

    def __init__(
        self,
        k: str | int | Mapping[str, int] = "auto",
        pca_share: float = 0.95,
        min_cluster: float = 0.1,
        k_max: int = 4,
        min_silhouette: float = 0.05,
        random_state: int = 0,
    ) -> None:
        self.k = k
        self.pca_share = pca_share
        self.min_cluster = min_cluster
        self.k_max = k_max
        self.min_silhouette = min_silhouette
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit on features [N, D] and class labels [N]. Raises OptionsInvalid when k does not fit a class."""
        checked: tuple[Floats, npt.NDArray[Any]] = validate_data(self, X, y, dtype=np.float64)
        features, labels = checked
        self.classes_: npt.NDArray[Any] = np.unique(labels)
        wanted = self.check(labels)
        self.spaces_: dict[Any, dict[str, Floats]] = {}
        self.silhouettes_: dict[Any, dict[int, float]] = {}
        self.labels_ = np.empty(len(labels), dtype=np.int64)
        first = 0
        for label in self.classes_:
            rows = np.flatnonzero(labels == label)
            space, own = self._fit_class(label, features[rows], wanted[label])
            self.spaces_[label] = space
            self.labels_[rows] = first + own
            first += len(space["centres"])
        self._name()
        return self

    def fit_predict(self, X: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Fit, then the subclass of each training row, int [N]."""
        return self.fit(X, y).labels_

    def predict(self, X: npt.ArrayLike, y: npt.ArrayLike | None = None) -> npt.NDArray[np.int64]:
        """The nearest subclass, int [N]: within the given class `y`, or of all classes when no class is given."""
        distances = self.transform(X)
        if y is not None:
            known = np.asarray(y)
            if unknown := set(np.unique(known)) - set(self.classes_):
                raise ValueError(f"classes not seen in fit: {sorted(unknown)}")
            distances[known[:, None] != self.classes_[self.parent_][None, :]] = np.inf
        return np.asarray(distances.argmin(axis=1), dtype=np.int64)

    def transform(self, X: npt.ArrayLike) -> Floats:
        """Distances [N, S] to each subclass's centre, each in its own class's space and divided by the root of its
        number of components, so that spaces of different size can be compared."""
        check_is_fitted(self)
        checked: Floats = validate_data(self, X, dtype=np.float64, reset=False)
        columns = []
        for label in self.classes_:
            space = self.spaces_[label]
            reduced = _project(space, checked)
            gaps = np.linalg.norm(reduced[:, None, :] - space["centres"][None], axis=2)
            columns.append(gaps / np.sqrt(max(1, reduced.shape[1])))
        return np.concatenate(columns, axis=1)

    def to_arrays(self) -> dict[str, Floats]:
        """Everything `transform` needs, as named arrays for a safetensors file."""
        check_is_fitted(self)
        return {
            f"{label}.{part}": np.ascontiguousarray(self.spaces_[label][part])
            for label in self.classes_
            for part in PARTS
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The inverse of `to_arrays`; raises KeyError when a part is missing."""
        made = cls()
        labels = sorted({name.rpartition(".")[0] for name in arrays})
        made.classes_ = np.array(labels)
        made.spaces_ = {
            label: {part: np.asarray(arrays[f"{label}.{part}"], dtype=np.float64) for part in PARTS} for label in labels
        }
        made.n_features_in_ = len(made.spaces_[labels[0]]["mean"])
        made._name()
        return made

    def check(self, y: npt.ArrayLike) -> dict[Any, int | None]:
        """The k wanted for each class of the labels [N], None for auto; raises OptionsInvalid when it cannot be.

        It needs no features, so that a long training can ask before it starts.
        """
        labels, sizes = np.unique(np.asarray(y), return_counts=True)
        wanted = self._wanted(labels)
        for label, size in zip(labels, sizes, strict=True):
            if (wanted[label] or 1) > size:
                raise OptionsInvalid(
                    f"k = {wanted[label]} is larger than class {label}, which has {size} training images."
                )
        return wanted

    def _wanted(self, labels: npt.NDArray[Any]) -> dict[Any, int | None]:
        if self.k == "auto":
            return dict.fromkeys(labels)
        if isinstance(self.k, Mapping):
            if missing := [str(label) for label in labels if label not in self.k]:
                raise OptionsInvalid(f"k is given for each class, but not for {', '.join(missing)}.")
            wanted: dict[Any, int | None] = {label: self.k[label] for label in labels}
        else:
            wanted = dict.fromkeys(labels, self.k)  # type: ignore[arg-type]
        for label, number in wanted.items():
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
                raise OptionsInvalid(f"k is 'auto' or a whole number from 1 on, not {number!r} ({label}).")
        return wanted

    def _fit_class(self, label: Any, X: Floats, k: int | None) -> tuple[dict[str, Floats], npt.NDArray[np.int64]]:
        space = self._space(X)
        reduced = _project(space, X)
        own = self._cluster_auto(label, reduced) if k is None else self._cluster(label, reduced, k)
        # Largest first, so that "covid-1" means the same thing from one training to the next.
        order = np.argsort(-np.bincount(own), kind="stable")
        own = np.argsort(order)[own]
        space["centres"] = np.stack([reduced[own == i].mean(axis=0) for i in range(own.max() + 1)])
        return space, own

    def _space(self, X: Floats) -> dict[str, Floats]:
        rows, width = X.shape
        if rows == 1:  # one picture has no variance to keep a share of: every feature counts
            return {"mean": X[0], "scale": np.ones(width), "pca_mean": np.zeros(width), "components": np.eye(width)}
        scaler = StandardScaler().fit(X)
        share = None if self.pca_share >= 1 else self.pca_share
        pca = PCA(share, svd_solver="full").fit(scaler.transform(X))
        return {
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "pca_mean": pca.mean_,
            "components": pca.components_,
        }

    def _cluster(self, label: Any, reduced: Floats, k: int) -> npt.NDArray[np.int64]:
        if k == 1:
            return np.zeros(len(reduced), dtype=np.int64)
        own = KMeans(k, n_init=10, random_state=self.random_state).fit_predict(reduced)
        if len(np.unique(own)) < k:
            raise OptionsInvalid(f"class {label} has fewer than k = {k} different images.")
        return np.asarray(own, dtype=np.int64)

    def _cluster_auto(self, label: Any, reduced: Floats) -> npt.NDArray[np.int64]:
        least = self.min_cluster * len(reduced) if self.min_cluster < 1 else self.min_cluster
        least = max(2.0, least)
        best, best_score = np.zeros(len(reduced), dtype=np.int64), self.min_silhouette
        self.silhouettes_[label] = {}
        different = len(np.unique(reduced, axis=0))
        for k in range(2, min(self.k_max, different - 1, int(len(reduced) // least)) + 1):
            own = self._cluster(label, reduced, k)
            score = float(silhouette_score(reduced, own))
            self.silhouettes_[label][k] = score
            if np.bincount(own).min() >= least and score > best_score:
                best, best_score = own, score
        return best

    def _name(self) -> None:
        self.k_ = {str(label): len(self.spaces_[label]["centres"]) for label in self.classes_}
        self.subclasses_ = [f"{label}-{i + 1}" for label in self.classes_ for i in range(self.k_[str(label)])]
        self.parent_ = np.repeat(np.arange(len(self.classes_)), list(self.k_.values()))


def _project(space: Mapping[str, Floats], X: Floats) -> Floats:
    scaled = (X - space["mean"]) / space["scale"]
    return np.asarray((scaled - space["pca_mean"]) @ space["components"].T)
