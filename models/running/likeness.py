"""How far a picture lies from everything seen in training: a distance in the space of the network's earlier layers.

Mahalanobis distance to the nearest subclass, after Lee et al., "A Simple Unified Framework for Detecting
Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018. The last layer has learnt to forget what does not
tell the classes apart; the layers before it still know a hand from a chest (transfer.Network.look).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
PARTS = ("mean", "whiten", "centres")


@dataclass(frozen=True)
class Likeness:
    """Features less `mean` [D], times `whiten` [D, D], have the spread of one subclass in every direction.

    centres [S, D] are the subclasses' means in that space. The covariance is that of training pictures about their
    own subclass's mean, shrunk by Ledoit and Wolf's rule, since there are seldom many more pictures than features.
    """

    mean: Floats
    whiten: Floats
    centres: Floats

    @classmethod
    def fit(cls, features: Floats, subclass: npt.NDArray[np.int64]) -> Self:
        """From training features [N, D] and the subclass of each; every subclass has at least one row."""
        # A worker only measures distances; scikit-learn would be a third of what it imports.
        from sklearn.covariance import LedoitWolf

        given = features.astype(np.float64)
        mean = given.mean(axis=0)
        # A feature that never varied in training must not make every new picture a stranger by its rounding.
        deviation = given.std(axis=0)
        scale = np.maximum(deviation, max(1e-6, 1e-3 * float(deviation.mean())))
        placed = (given - mean) / scale
        centres = np.stack([placed[subclass == i].mean(axis=0) for i in range(int(subclass.max()) + 1)])
        covariance = LedoitWolf(assume_centered=True).fit(placed - centres[subclass]).covariance_
        variance, axes = np.linalg.eigh(covariance)
        rotate = axes / np.sqrt(np.maximum(variance, 1e-9))
        return cls(
            mean.astype(np.float32),
            (rotate / scale[:, None]).astype(np.float32),
            (centres @ rotate).astype(np.float32),
        )

    def distance(self, features: Floats) -> Floats:
        """Distance [N] of features [N, D] to the nearest subclass, as a root mean square over the directions."""
        placed = (features - self.mean) @ self.whiten
        gaps = placed[:, None, :] - self.centres[None]
        return np.asarray(np.sqrt((gaps**2).mean(axis=2)).min(axis=1), dtype=np.float32)

    def to_arrays(self) -> dict[str, Floats]:
        return {part: np.ascontiguousarray(getattr(self, part)) for part in PARTS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The inverse of `to_arrays`; KeyError when a part is missing, ValueError when shapes do not fit."""
        made = cls(*(np.asarray(arrays[part], dtype=np.float32) for part in PARTS))
        width = len(made.mean)
        if made.whiten.shape != (width, width) or made.centres.shape[1:] != (width,):
            raise ValueError("the parts of the distance gate do not fit together")
        return made
