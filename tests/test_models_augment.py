"""Random changes of training pictures."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.learning.augment import NONE, Augmentation, augment, mixup


def pictures(n: int = 16, side: int = 32) -> torch.Tensor:
    down = torch.linspace(200, 50, side)[:, None].expand(side, side)
    return down.to(torch.uint8)[None, None].repeat(n, 1, 1, 1)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_is_nothing_done():
    assert torch.equal(augment(pictures(), NONE, draw()), pictures().float())


def test_the_same_seed_draws_the_same_and_another_draws_another():
    once, again, other = (augment(pictures(), Augmentation(), draw(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_each_picture_of_a_batch_is_changed_on_its_own():
    out = augment(pictures(), Augmentation(), draw())
    assert len({tuple(one.flatten().tolist()) for one in out}) == len(out)


def test_greys_stay_greys_and_the_input_stays_itself():
    inputs = pictures()
    out = augment(inputs, Augmentation(brightness=0.9, contrast=0.9), draw())
    assert out.min() >= 0 and out.max() <= 255
    assert torch.equal(inputs, pictures())


def test_a_chest_is_never_turned_upside_down():
    out = augment(pictures(200), Augmentation(erase=0, noise=0), draw())
    top, bottom = out[:, 0, :8].mean(dim=(1, 2)), out[:, 0, -8:].mean(dim=(1, 2))
    assert bool((top > bottom).all())


def test_mixup_blends_pictures_and_targets_by_the_same_share():
    x = torch.tensor([0.0, 100.0])[:, None, None, None].expand(2, 1, 4, 4)
    mixed, targets = mixup(x, torch.eye(2), 0.4, draw(3))
    assert torch.allclose(targets.sum(dim=1), torch.ones(2))
    # Grey 100 stands for the second target, so the blend can be read off either.
    assert torch.allclose(mixed[:, 0, 0, 0], targets[:, 1] * 100, atol=1e-3)
    assert bool((targets.diagonal() >= 0.5).all())


def test_a_frame_covers_edges_and_never_the_middle():
    inputs = torch.full((400, 1, 40, 40), 90, dtype=torch.uint8)
    inputs[:, :, 20:, :] = 110
    out = augment(inputs, replace(NONE, frame=0.5), draw())
    changed = out != inputs
    assert not changed[:, :, 6:34, 6:34].any()
    often = changed.flatten(1).any(dim=1).float().mean()
    assert 0.4 < often < 0.6
    one = changed[int(changed.flatten(1).any(dim=1).nonzero()[0]), 0]
    assert len(out[changed].unique()) > 20 and (out[changed] == 0).any()  # black, mean, and greys of chance
    assert one[20].any() or one[:, 20].any()  # whole strips, from edge to edge
