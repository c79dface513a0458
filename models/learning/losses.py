"""What a stage learns by: the classes, what teachers say of them, and, beside them, the siblings inside a class.

The cross-entropy over subclasses is a sum of two: of the classes, composed by summing their subclasses' probabilities,
and of the siblings inside the true class. Taken apart, each can have its own weight, and its own reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

# How much of the class loss is held against the teachers instead of the labels.
TAUGHT = 0.7


def composed(logits: torch.Tensor, parent: torch.Tensor, classes: int) -> torch.Tensor:
    """Logits of the classes [N, C] whose probabilities are the sums over their subclasses' [N, K]; `parent` [K]."""
    # Masked, not picked out: an index would make a graphics card wait for its length.
    of = [logits.masked_fill(parent != label, -torch.inf).logsumexp(dim=1) for label in range(classes)]
    return torch.stack(of, dim=1)


def class_loss(
    logits: torch.Tensor, targets: torch.Tensor, smoothing: float, taught: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of class logits [N, C] against shares [N, C], and against the teachers' probabilities [N, C]."""
    loss = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    if taught is None:
        return loss
    return (1 - TAUGHT) * loss + TAUGHT * functional.cross_entropy(logits, taught)


def sibling_loss(logits: torch.Tensor, targets: torch.Tensor, parent: torch.Tensor, classes: int) -> torch.Tensor:
    """Cross-entropy among the siblings of each true class: logits and shares [N, K], `parent` [K]."""
    among = logits - composed(logits, parent, classes)[:, parent]
    return -(targets * among).sum(dim=1).mean()


@torch.no_grad()
def taught_by(teachers: Sequence[torch.nn.Module], x: torch.Tensor) -> torch.Tensor:
    """The mean of the teachers' class probabilities [N, C] of pictures as the pupil sees them."""
    said = [teacher.eval()(x).float().softmax(dim=1) for teacher in teachers]
    return torch.stack(said).mean(dim=0)
