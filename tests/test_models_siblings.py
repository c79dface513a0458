"""Where the head over the subclasses begins."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from models.siblings import tell_apart
from models.transfer import Network

PARENT = np.array([0, 0, 1, 2, 2, 2])


def clusters(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Forty pictures of each subclass, spread about a place of its own."""
    chance = np.random.default_rng(0)
    places = chance.normal(0, 1, (len(PARENT), width))
    subclass = np.repeat(np.arange(len(PARENT)), 40)
    return (places[subclass] + chance.normal(0, 0.5, (len(subclass), width))).astype(np.float32), subclass


def test_siblings_are_told_apart_and_the_class_stays_as_likely():
    X, subclass = clusters(64)
    weight, bias = (part.numpy() for part in tell_apart(X, subclass, PARENT))
    assert np.abs(weight[2]).max() < 1e-6 and abs(bias[2]) < 1e-6  # an only child is its class
    logits = X @ weight.T + bias
    for label in (0, 2):
        own = np.flatnonzero(label == PARENT)
        rows = np.isin(subclass, own)
        assert (own[logits[rows][:, own].argmax(axis=1)] == subclass[rows]).mean() > 0.98
        assert abs(np.log(np.exp(logits[rows][:, own]).sum(axis=1)).mean()) < 1e-4


def test_the_composed_answer_begins_where_the_classes_answer_ended():
    torch.manual_seed(0)
    network = Network("resnet10t", 3).eval()
    X, subclass = clusters(network.head.in_features)
    pooled = torch.from_numpy(X)
    classes = LogisticRegression(C=0.01, max_iter=500).fit(X, PARENT[subclass])
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(classes.coef_))
        network.head.bias.copy_(torch.from_numpy(classes.intercept_))
        before = network.head(pooled).softmax(dim=1)
        network.split_head(torch.from_numpy(PARENT), tell_apart(X, subclass, PARENT))
        p = network.head(pooled).softmax(dim=1)
    after = torch.zeros(len(p), 3).index_add_(1, torch.from_numpy(PARENT), p)
    assert (after - before).abs().mean() < 0.03
    within = p.numpy() * (PARENT[None] == PARENT[subclass][:, None])
    assert (within.argmax(axis=1) == subclass).mean() > 0.98
