"""What tells the subclasses of one class apart: where the head over the subclasses begins.

A head whose sibling rows begin equal has two things to learn at once, and learns neither: the classes are told apart
already, so that the loss of the composed answer is at its best before the siblings differ, and that is where a short
transfer stops. Two thirds of the subclasses of such a model were never answered to any picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Floats = npt.NDArray[np.float64]
# Strong: with more features than pictures anything can be told apart by heart.
STRENGTH = 0.01


def tell_apart(
    features: npt.NDArray[np.float32], subclass: npt.NDArray[np.int64], parent: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [S, D] and biases [S] to add to the class's own, from features [N, D] and subclass [N] of training.

    Fitted within each class, centred over its siblings, so that adding them leaves the class's answer on average as it
    is: over the class's own pictures the siblings' sum is as likely as the class was.
    """
    weight, bias = np.zeros((len(parent), features.shape[1])), np.zeros(len(parent))
    for label in np.unique(parent):
        own = np.flatnonzero(parent == label)
        if len(own) == 1:
            continue
        rows = np.isin(subclass, own)
        weight[own], bias[own] = _within(features[rows].astype(np.float64), subclass[rows])
    return torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))


def _within(X: Floats, subclass: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    scaler = StandardScaler().fit(X)
    found = LogisticRegression(C=STRENGTH, max_iter=1000).fit(scaler.transform(X), subclass)
    # Of two subclasses scikit-learn gives one row, the odds of the second.
    weight, bias = found.coef_, found.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = (weight - weight.mean(axis=0)) / scaler.scale_
    bias = bias - bias.mean() - weight @ scaler.mean_
    logits = X @ weight.T + bias
    top = logits.max(axis=1, keepdims=True)
    return weight, bias - float((np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]).mean())
