"""How far a picture lies from everything seen in training: a distance in the space of the network's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

Floats = npt.NDArray[np.float32]
PARTS = ("mean", "components", "scale", "residual", "centres")


@dataclass(frozen=True)
class Likeness:
    """Features are reduced to the components that hold 95 % of the training variance, each divided by its deviation;
    what the components leave out counts as one more. The distance is to the nearest subclass's mean.

    mean [D], components [P, D], scale [P], residual [1] (typical length of what is left out), centres [S, P + 1].
    """

    mean: Floats
    components: Floats
    scale: Floats
    residual: Floats
    centres: Floats

    @classmethod
    def fit(cls, features: Floats, subclass: npt.NDArray[np.int64], share: float = 0.95) -> Self:
        """From training features [N, D] and the subclass of each; every subclass has at least one row."""
        pca = PCA(share, svd_solver="full").fit(features.astype(np.float64))
        # Shrunk toward their mean: a component of next to no variance must not make every new picture a stranger.
        variance = 0.9 * pca.explained_variance_ + 0.1 * pca.explained_variance_.mean()
        centred = features - pca.mean_
        left = np.linalg.norm(centred - centred @ pca.components_.T @ pca.components_, axis=1)
        made = cls(
            pca.mean_.astype(np.float32),
            pca.components_.astype(np.float32),
            np.sqrt(np.maximum(variance, 1e-12)).astype(np.float32),
            np.array([max(float(np.sqrt((left**2).mean())), 1e-6)], dtype=np.float32),
            np.zeros((0, pca.n_components_ + 1), dtype=np.float32),
        )
        placed = made._place(features)
        centres = np.stack([placed[subclass == i].mean(axis=0) for i in range(int(subclass.max()) + 1)])
        return cls(made.mean, made.components, made.scale, made.residual, centres.astype(np.float32))

    def distance(self, features: Floats) -> Floats:
        """Distance [N] of features [N, D] to the nearest subclass, as a root mean square over the components."""
        gaps = self._place(features)[:, None, :] - self.centres[None]
        return np.asarray(np.sqrt((gaps**2).mean(axis=2)).min(axis=1), dtype=np.float32)

    def to_arrays(self) -> dict[str, Floats]:
        return {part: np.ascontiguousarray(getattr(self, part)) for part in PARTS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The inverse of `to_arrays`; KeyError when a part is missing, ValueError when shapes do not fit."""
        made = cls(*(np.asarray(arrays[part], dtype=np.float32) for part in PARTS))
        kept, width = made.components.shape
        if (made.mean.shape, made.scale.shape, made.residual.shape, made.centres.shape[1:]) != (
            (width,), (kept,), (1,), (kept + 1,),
        ):  # fmt: skip
            raise ValueError("the parts of the distance gate do not fit together")
        return made

    def _place(self, features: Floats) -> Floats:
        centred = features - self.mean
        reduced = centred @ self.components.T
        left = np.linalg.norm(centred - reduced @ self.components, axis=1)
        return np.concatenate([reduced / self.scale, left[:, None] / self.residual], axis=1)
