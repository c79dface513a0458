"""One stage of training."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from evaluation_fixtures import SMALLEST

from models.errors import OptionsInvalid, TrainingFailed
from models.learning.augment import NONE
from models.learning.checkpoint import Checkpoint
from models.learning.loop import Progress, Stage, Task
from models.learning.pace import balanced_order, make_optimizer, phases_of, rate
from models.learning.recipes import Schedule
from models.transfer import Network

QUICK = Schedule(epochs=4, lr=1e-3, batch=8, ema=0.9, augmentation=replace(NONE, flip=True, shift=0.05))


def task(n: int = 24) -> Task:
    """Pictures whose class is where the bright square stands."""
    chance = torch.Generator().manual_seed(0)
    x = torch.randint(60, 120, (n + 9, 1, 32, 32), generator=chance, dtype=torch.uint8)
    y = torch.arange(n + 9) % 3
    for row, label in enumerate(y.tolist()):
        x[row, :, 10 * label : 10 * label + 10, 8:24] = 240
    return Task(x[:n], y[:n], torch.arange(3), x[n:], y[n:], 0, 0.4, 0.2)


def stage(schedule=QUICK, phases=None, checkpoint=None, tell=lambda p: None, seed=0) -> Stage:
    torch.manual_seed(seed)
    network = Network(SMALLEST, 3)
    return Stage(
        "backbone", network, task(), schedule, phases or [(None, schedule.epochs)],
        seed=seed, device=torch.device("cpu"), tell=tell, checkpoint=checkpoint,
    )  # fmt: skip


@functools.cache
def uninterrupted(*phases) -> tuple[Stage, list[dict[str, object]]]:
    whole = stage(phases=list(phases))
    return whole, whole.run()


def same(one: Stage, other: Stage) -> bool:
    mine, theirs = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 2, 3])
@pytest.mark.parametrize("phases", [[(None, 4)], [(1, 2), (None, 2)]])
def test_an_interrupted_stage_goes_on_to_the_same_weights(tmp_path, stop_after, phases):
    whole, log = uninterrupted(*phases)
    told = 0

    def interrupt(_: Progress) -> None:
        nonlocal told
        told += 1
        if told > stop_after:
            raise Interrupt

    with pytest.raises(Interrupt):
        stage(phases=phases, checkpoint=Checkpoint(tmp_path, {"a": 1}, every=1), tell=interrupt).run()
    resumed = stage(phases=phases, checkpoint=Checkpoint(tmp_path, {"a": 1}, every=1))
    assert resumed.run() == log
    assert same(resumed, whole)
    done = stage(phases=phases, checkpoint=Checkpoint(tmp_path, {"a": 1}), tell=interrupt)
    assert done.run() == log  # a finished stage is read, not run
    assert same(done, whole)


def test_a_checkpoint_of_other_settings_is_refused_and_a_broken_one_begins_again(tmp_path):
    stage(checkpoint=Checkpoint(tmp_path, {"lr": 1})).run()
    with pytest.raises(OptionsInvalid, match="lr 1 instead of 2"):
        Checkpoint(tmp_path, {"lr": 2})
    (tmp_path / "backbone.pt").write_bytes(b"half a fi")
    assert Checkpoint(tmp_path, {"lr": 1}).read("backbone") is None


def test_another_seed_gives_other_weights():
    one, other = stage(seed=0), stage(seed=1)
    one.run(), other.run()
    assert not same(one, other)


def test_a_loss_that_is_no_number_ends_the_training():
    with pytest.raises(TrainingFailed, match=r"no number any more.*smaller learning rate"):
        stage(replace(QUICK, lr=1e30, warmup=0.0, epochs=3)).run()


def test_the_best_weights_are_kept_and_the_stage_ends_early():
    stuck = replace(QUICK, epochs=30, patience=2, lr=1e-9, ema=0, warmup=0)
    made = stage(stuck)
    log = made.run()
    assert len(log) < 30
    best = min(row["val_loss"] for row in log)
    assert made._validate(made.network)["loss"] == pytest.approx(best, abs=1e-6)


def test_fine_stops_releasing_when_validation_no_longer_improves():
    still = replace(QUICK, lr=1e-12, ema=0, warmup=0)
    made = stage(still, phases=[(0, 1), (1, 1), (2, 1), (3, 1)])
    first = made.run()
    assert len(first) < 4
    assert min(row["val_loss"] for row in first) == made.best_loss


def test_progress_tells_epochs_loss_and_speed():
    told: list[Progress] = []
    stage(tell=told.append).run()
    assert [p.epoch for p in told] == [1, 2, 3, 4]
    assert {p.epochs for p in told} == {4}
    assert all(p.loss and p.images_per_second and 0 <= p.val["accuracy"] <= 1 for p in told)


def test_balanced_order_draws_classes_equally_and_rows_evenly():
    groups = torch.tensor([0] * 10 + [1] * 40 + [2] * 70)
    order = balanced_order(groups, 1.0, torch.Generator().manual_seed(0))
    assert torch.bincount(groups[order]).tolist() == [40, 40, 40]
    times = torch.bincount(order, minlength=120)
    assert times[:10].tolist() == [4] * 10
    assert times[10:50].tolist() == [1] * 40
    plain = balanced_order(groups, 0.0, torch.Generator().manual_seed(0))
    assert sorted(plain.tolist()) == list(range(120))


def test_phases():
    assert phases_of("deep", 5, 9) == [(None, 9)]
    assert phases_of("shallow", 5, 9) == [(0, 9)]
    assert phases_of("fine", 5, 13) == [(0, 3), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2)]
    assert phases_of("fine", 5, 3) == [(0, 1), (2, 1), (5, 1)]


def test_the_learning_rate_rises_then_falls_or_falls_by_steps():
    rates = [rate(QUICK, epoch, 100) for epoch in range(101)]
    assert max(rates) == rates[10] == QUICK.lr
    assert rates[0] < rates[5] < rates[10] > rates[50] > rates[100] > 0
    steps = replace(QUICK, step_every=3, step_factor=0.9)
    assert [rate(steps, e, 100) for e in (0, 2.9, 3, 6)] == pytest.approx([1e-3, 1e-3, 9e-4, 8.1e-4])


def test_accumulated_batches_make_one_step():
    steps = []

    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            steps.append(1)
            return super().step(closure)

    def one_group(schedule, parameters, head):
        return Counting([{"params": parameters, "times": 1.0}], schedule.lr)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.learning.loop.make_optimizer", one_group)
        stage(replace(QUICK, epochs=1, accumulate=2)).run()  # three batches: two, and the one that is left
    assert len(steps) == 2


def test_strata_are_balanced_in_place_of_classes():
    made = stage(replace(QUICK, balance=1.0))
    strata = torch.zeros(24, dtype=torch.int64)
    strata[:3] = 1
    made.task = replace(made.task, strata=strata)
    drawn = torch.cat(list(made._batches(torch.Generator().manual_seed(0))))
    assert int((strata[drawn] == 1).sum()) == 12


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_head_may_learn_faster_than_the_rest(optimizer):
    made = stage(replace(QUICK, optimizer=optimizer, head_rate=5.0))
    head = list(made.network.head.parameters())
    groups = make_optimizer(made.schedule, list(made.network.parameters()), head).param_groups
    for group in groups:
        for parameter in group["params"]:
            last = any(parameter is one for one in head)
            assert group["times"] == (5.0 if last else 1.0)
    assert sum(len(group["params"]) for group in groups) == len(list(made.network.parameters()))
