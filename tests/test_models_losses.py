"""What the stages learn by: the cross-entropy over subclasses taken apart, siblings that leave the classes alone."""

from __future__ import annotations

import torch
from torch.nn import functional

from models.learning.losses import TAUGHT, class_loss, composed, sibling_loss, taught_by

PARENT = torch.tensor([0, 0, 1, 2, 2, 2])


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn(9, 6, generator=chance, requires_grad=True)
    return logits, functional.one_hot(torch.randint(6, (9,), generator=chance), 6).float()


def shares(targets: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(targets), 3).index_add_(1, PARENT, targets)


def test_class_and_sibling_losses_add_up_to_the_cross_entropy_over_subclasses():
    logits, targets = drawn()
    apart = class_loss(composed(logits, PARENT, 3), shares(targets), 0) + sibling_loss(logits, targets, PARENT, 3)
    assert torch.allclose(apart, functional.cross_entropy(logits, targets), atol=1e-6)


def test_they_add_up_for_mixed_targets_too():
    logits, targets = drawn(1)
    mixed = 0.3 * targets + 0.7 * targets.roll(1, 0)
    apart = class_loss(composed(logits, PARENT, 3), shares(mixed), 0) + sibling_loss(logits, mixed, PARENT, 3)
    assert torch.allclose(apart, functional.cross_entropy(logits, mixed), atol=1e-6)


def test_composed_probabilities_are_the_sums_of_the_subclasses():
    logits, _ = drawn(2)
    p = logits.softmax(dim=1)
    summed = torch.stack([p[:, :2].sum(1), p[:, 2], p[:, 3:].sum(1)], dim=1)
    assert torch.allclose(composed(logits, PARENT, 3).softmax(dim=1), summed, atol=1e-6)


def test_the_sibling_loss_moves_no_class():
    logits, targets = drawn(3)
    sibling_loss(logits, targets, PARENT, 3).backward()
    assert logits.grad is not None
    pushed = torch.zeros(9, 3).index_add_(1, PARENT, logits.grad)
    assert torch.allclose(pushed, torch.zeros(9, 3), atol=1e-7)


def test_teachers_pull_towards_what_they_say():
    logits = torch.zeros(4, 3, requires_grad=True)
    labels = functional.one_hot(torch.tensor([0, 0, 0, 0]), 3).float()
    taught = torch.tensor([[0.0, 1.0, 0.0]]).expand(4, -1)
    class_loss(logits, labels, 0, taught).backward()
    assert logits.grad is not None
    # A step downhill raises the teachers' class by their share of the loss, the label's by the rest.
    down = -4 * logits.grad[0]
    assert torch.allclose(down, torch.tensor([1 - TAUGHT, TAUGHT, 0.0]) - 1 / 3, atol=1e-6)


def test_taught_by_is_the_mean_of_the_teachers_without_gradients():
    one, other = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(4))
    said = taught_by([one, other], x)
    assert not said.requires_grad
    assert torch.allclose(said, (one(x).softmax(1) + other(x).softmax(1)) / 2)
