"""The estimator that joins the stages: decompose, transfer, compose (DeTraC)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.validation import check_is_fitted

from models.compose import Composition
from models.decompose import ClassDecomposer
from models.device import repeatable
from models.errors import OptionsInvalid
from models.images import grey_statistics, normalise, stack
from models.learning.calibrate import softmax
from models.learning.checkpoint import Checkpoint
from models.learning.loop import Progress, Stage, Task, Tell
from models.learning.pace import phases_of
from models.learning.recipes import Schedule, resolve
from models.learning.weights import begin, beginning
from models.transfer import TUNINGS, Network, layer_groups

Images = torch.Tensor | Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]


def _silent(_: Progress) -> None:
    pass


class DeTraC(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Stage 1 trains the backbone on the classes; its features are decomposed; stage 2 transfers it to the subclasses.

    Pictures are uint8 (H, W) of any size, or a tensor [N, 1, S, S] that is already the network's input. Parameters are
    those of TrainOptions; None means what the recipe says. `k` is what ClassDecomposer takes; `positive` is the class
    whose AUROC is told during training, the first one when None.

    Attributes: classes_, composition_, decomposer_, network_, features_ [N, D] of the training pictures in stage 1,
    subclass_labels_ [N], mean_, std_, recipe_, log_ (a row for each epoch).
    """

    def __init__(
        self,
        recipe: str = "best",
        backbone: str = "",
        tuning: str = "deep",
        k: str | int | Mapping[str, int] | None = None,
        epochs: int | None = None,
        size: int | None = None,
        batch: int | None = None,
        lr: float | None = None,
        accumulate: int | None = None,
        pretrained: bool | None = None,
        weights: Path | None = None,
        random_state: int = 0,
        device: str = "cpu",
        positive: str | None = None,
    ) -> None:
        self.recipe = recipe
        self.backbone = backbone
        self.tuning = tuning
        self.k = k
        self.epochs = epochs
        self.size = size
        self.batch = batch
        self.lr = lr
        self.accumulate = accumulate
        self.pretrained = pretrained
        self.weights = weights
        self.random_state = random_state
        self.device = device
        self.positive = positive

    def fit(
        self,
        X: Images,
        y: Sequence[str] | npt.NDArray[Any],
        groups: Sequence[str] | None = None,
        validation: tuple[Images, Sequence[str] | npt.NDArray[Any]] | None = None,
        tell: Tell = _silent,
        checkpoint: Checkpoint | None = None,
        sources: Sequence[str] | None = None,
    ) -> Self:
        """Train on pictures and class labels. Without `validation` a seventh is kept aside, whole `groups` together.

        A recipe may balance each class of each source in place of the classes, where `sources` tells each picture's:
        a class that comes mostly from one place is then less of a hint to the place.

        Raises OptionsInvalid, WeightsInvalid or TrainingFailed, each with one line.
        """
        if self.tuning not in TUNINGS:
            raise OptionsInvalid(f"There is no tuning {self.tuning!r}; there are {', '.join(TUNINGS)}.")
        self.recipe_ = resolve(self.recipe, self.get_params())
        inputs, labels = self._inputs(X), np.asarray(y)
        if validation is None:
            kept, aside = _keep_aside(labels, groups, self.random_state)
            validation = inputs[aside], labels[aside]
            inputs, labels = inputs[kept], labels[kept]
            sources = None if sources is None else np.asarray(sources)[kept].tolist()
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if unknown := set(np.unique(validation[1])) - set(self.classes_):
            raise OptionsInvalid(f"Validation has a class that training lacks: {', '.join(sorted(unknown))}.")
        self.decomposer_ = ClassDecomposer(self.recipe_.k, random_state=self.random_state)
        self.decomposer_.check(labels)
        self.start_ = beginning(self.recipe_.backbone, self.recipe_.pretrained, self.weights)
        self.mean_, self.std_ = grey_statistics(inputs)
        self.log_: list[dict[str, Any]] = []
        strata = _strata(labels, sources) if self.recipe_.by_source else None
        whole = self._task(inputs, targets, *validation, strata)
        devices = list(range(torch.cuda.device_count())) if self.device.startswith("cuda") else []
        with torch.random.fork_rng(devices), repeatable():
            network = self._learn(whole, tell, checkpoint)
        self.network_ = network.eval()
        self.composition_ = Composition(
            tuple(str(label) for label in self.classes_),
            tuple(self.decomposer_.subclasses_),
            tuple(int(i) for i in self.decomposer_.parent_),
        )
        return self

    def _task(
        self,
        inputs: torch.Tensor,
        targets: npt.NDArray[np.int64],
        val_X: Images,
        val_y: Sequence[str] | npt.NDArray[Any],
        strata: torch.Tensor | None,
    ) -> Task:
        """The first task: the classes whole."""
        return Task(
            inputs,
            torch.from_numpy(targets),
            torch.arange(len(self.classes_)),
            self._inputs(val_X),
            torch.from_numpy(np.searchsorted(self.classes_, np.asarray(val_y))),
            positive=int(np.flatnonzero(self.classes_ == (self.positive or self.classes_[0]))[0]),
            mean=self.mean_,
            std=self.std_,
            strata=strata,
        )

    def _learn(self, whole: Task, tell: Tell, checkpoint: Checkpoint | None) -> Network:
        """The three stages: the network learns the classes, its features are clustered, it learns the subclasses."""
        torch.manual_seed(self.random_state)
        network = self._begin(len(self.classes_))
        if self.start_ is not None:  # weights are worth most on greys as they know them
            self.mean_, self.std_ = network.grey
            whole = replace(whole, mean=self.mean_, std=self.std_)
        whole = replace(whole, teachers=self._teachers(whole, tell, checkpoint))
        self._stage("backbone", network, whole, self.recipe_.backbone_stage, tell, checkpoint)
        tell(Progress("decompose", 0, 1))
        self.features_ = self._features(network, whole.inputs)
        self.subclass_labels_ = self.decomposer_.fit_predict(self.features_, self.classes_[whole.targets.numpy()])
        tell(Progress("decompose", 1, 1))
        torch.manual_seed(self.random_state + 1)
        if self.recipe_.restart:
            network = self._begin(len(self.decomposer_.subclasses_))
        else:
            network.split_head(torch.from_numpy(self.decomposer_.parent_))
        parts = replace(
            whole,
            targets=torch.from_numpy(self.subclass_labels_),
            parent=torch.from_numpy(self.decomposer_.parent_),
        )
        self._stage("transfer", network, parts, self.recipe_.transfer_stage, tell, checkpoint)
        return network

    def _teachers(self, whole: Task, tell: Tell, checkpoint: Checkpoint | None) -> tuple[Network, ...]:
        """Networks that learn the classes first, each from a seed of its own; the recipe says how many."""
        made = []
        for number in range(self.recipe_.teachers):
            torch.manual_seed(self.random_state + 1000 * (number + 1))
            made.append(self._begin(len(self.classes_)))
            self._stage(f"teacher {number + 1}", made[-1], whole, self.recipe_.backbone_stage, tell, checkpoint)
        return tuple(made)

    def decision_function(self, X: Images) -> npt.NDArray[np.float32]:
        """Subclass logits [N, S], in float32."""
        return self._forward(X)[1]

    def predict_subclass_proba(self, X: Images) -> npt.NDArray[np.float64]:
        """Subclass probabilities [N, S]."""
        return softmax(self.decision_function(X))

    def predict_proba(self, X: Images) -> npt.NDArray[np.float32]:
        """Composed class probabilities [N, C], columns as in `classes_`."""
        subclass_p = self.predict_subclass_proba(X)
        return self.composition_.probabilities(subclass_p)

    def predict(self, X: Images) -> npt.NDArray[Any]:
        """The class of the largest composed probability."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def glance(self, X: Images) -> npt.NDArray[np.float32]:
        """What the distance gate sees [N, G]: the means of the final network's earlier maps."""
        check_is_fitted(self)
        return self._features(self.network_, self._inputs(X), 2)

    def embed(self, X: Images) -> npt.NDArray[np.float32]:
        """Pooled features [N, D] of the final network."""
        return self._forward(X)[0]

    def _inputs(self, X: Images) -> torch.Tensor:
        if isinstance(X, torch.Tensor):
            return X
        return stack(list(X), self.recipe_.size, self.recipe_.crop)

    def _begin(self, outputs: int) -> Network:
        recipe = self.recipe_
        drop_path = recipe.backbone_stage.drop_path
        network = begin(recipe.backbone, outputs, self.start_, stride=recipe.stride, drop_path=drop_path)
        if self.start_ is not None:
            network.quiet_head()
        return network

    def _stage(
        self, name: str, network: Network, task: Task, schedule: Schedule, tell: Tell, checkpoint: Checkpoint | None
    ) -> None:
        # From scratch there is nothing to keep: the tuning says what stage 2 may change of stage 1, and what stage 1
        # may change of weights that were brought along.
        tuning = self.tuning if name == "transfer" or self.start_ is not None else "deep"
        phases = phases_of(tuning, len(layer_groups(network)), schedule.epochs)
        stage = Stage(
            name, network, task, schedule, phases,
            seed=self.random_state, device=torch.device(self.device), tell=tell, checkpoint=checkpoint,
        )  # fmt: skip
        self.log_ += stage.run()

    @torch.no_grad()
    def _features(self, network: Network, inputs: torch.Tensor, which: int = 1) -> npt.NDArray[np.float32]:
        network.eval()
        parts = [
            network.look(normalise(chunk, self.mean_, self.std_).to(self.device))[which].cpu()
            for chunk in torch.split(inputs, 64)
        ]
        return np.asarray(torch.cat(parts).numpy())

    @torch.no_grad()
    def _forward(self, X: Images) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        check_is_fitted(self)
        pooled = self._features(self.network_, self._inputs(X))
        logits = self.network_.head(torch.from_numpy(pooled).to(self.device))
        return pooled, np.asarray(logits.cpu().numpy())

    def settings(self) -> dict[str, Any]:
        """What made this model, as JSON can hold it."""
        start = self.start_.name if isinstance(self.start_, Path) else self.start_
        return asdict(self.recipe_) | {"tuning": self.tuning, "seed": self.random_state, "weights": start}


def _strata(labels: npt.NDArray[Any], sources: Sequence[str] | None) -> torch.Tensor | None:
    """The number of each picture's class in its source [N]."""
    if sources is None:
        return None
    pairs = [f"{label} {source}" for label, source in zip(labels, sources, strict=True)]
    return torch.from_numpy(np.unique(pairs, return_inverse=True)[1])


def _keep_aside(
    labels: npt.NDArray[Any], groups: Sequence[str] | None, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    own = np.arange(len(labels)) if groups is None else np.asarray(groups)
    folds = min(7, len(np.unique(own)), int(np.unique(labels, return_counts=True)[1].min()))
    if folds < 2:
        raise OptionsInvalid("A class has one picture or one patient; two are needed, one of them for validation.")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    kept, aside = next(splitter.split(np.zeros(len(labels)), labels, own))
    return kept, aside
