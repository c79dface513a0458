"""What tells the subclasses of one class apart: where the head over the subclasses begins.

A head whose sibling rows begin equal has two things to learn at once, and learns neither: the classes are told apart
already, so that the loss of the composed answer is at its best before the siblings differ, and that is where a short
transfer stops. Two thirds of the subclasses of such a model were never answered to any picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

# The log odds between siblings that a picture of one of them shall begin with.
CLEAR = 1.0


def tell_apart(
    features: npt.NDArray[np.float32], subclass: npt.NDArray[np.int64], parent: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [S, D] and biases [S] to add to the class's own, from features [N, D] and subclass [N] of training.

    A ridge regression over all pictures: those of a class are told which sibling they are, those of the others that
    they are neither, so that a sibling does not win pictures that its class would not have won. Over the class's own
    pictures the siblings together are as likely as the class was.
    """
    scaler = StandardScaler().fit(features.astype(np.float64))
    X = scaler.transform(features.astype(np.float64))
    wanted = np.zeros((len(X), len(parent)))
    for label in np.unique(parent):
        own = np.flatnonzero(label == parent)
        rows = np.flatnonzero(np.isin(subclass, own))
        wanted[np.ix_(rows, own)] = CLEAR * ((subclass[rows, None] == own[None]) - 1 / len(own))
    # With more features than pictures anything can be told apart by heart: as strong as the pictures are many.
    found = Ridge(alpha=float(len(X))).fit(X, wanted)
    weight = found.coef_ / scaler.scale_
    bias = found.intercept_ - weight @ scaler.mean_
    logits = features @ weight.T + bias
    for label in np.unique(parent):
        own = np.flatnonzero(label == parent)
        members = np.isin(subclass, own)
        bias[own] -= float(np.log(np.exp(logits[members][:, own]).sum(axis=1)).mean())
    return torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))
