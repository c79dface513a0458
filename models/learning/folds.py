"""Cross-validation over training and validation together, for what one small validation split cannot settle.

A threshold chosen on two dozen positive pictures carries over badly. Here every picture of both splits is scored by a
network that never saw its patient, and the threshold is chosen on all of them. The test split takes no part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from models.data import CLASSES, POSITIVE
from models.detrac import DeTraC
from models.errors import OptionsInvalid
from models.learning.calibrate import fit_temperature, softmax
from models.learning.checkpoint import Checkpoint
from models.learning.loop import Progress, Tell
from models.learning.recipes import TrainOptions
from models.loading import Loaded
from models.metrics import auroc, balanced_accuracy, within_groups_auroc

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Folded:
    """Class probabilities [N, C] of pictures by networks that did not see them, with truth [N] and source [N]."""

    truth: Array
    class_p: Array
    source: Array

    @property
    def score(self) -> Array:
        return np.asarray(self.class_p[:, CLASSES.index(POSITIVE)])

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.truth == CLASSES.index(POSITIVE))

    def figures(self, threshold: float, folds: int) -> dict[str, Any]:
        within = within_groups_auroc(self.positive, self.score, self.source, np.ones(len(self.truth)))
        own = {"folds": folds, "within_source_auroc": None if within is None else round(within, 4)}
        return plain_figures(self.truth, self.class_p, threshold) | own


def make_estimator(options: TrainOptions, device: str) -> DeTraC:
    return DeTraC(
        recipe=options.recipe,
        backbone=options.backbone,
        tuning=options.tuning,
        k=options.k,
        epochs=options.epochs,
        size=options.size,
        batch=options.batch,
        lr=options.lr,
        accumulate=options.accumulate,
        pretrained=options.pretrained,
        weights=options.weights,
        random_state=options.seed,
        device=device,
        positive=POSITIVE,
    )


def out_of_fold(loaded: Loaded, options: TrainOptions, device: str, checkpoint: Checkpoint, progress: Tell) -> Folded:
    """Train `options.folds` times, each time all but a fold, and score that fold. Patients are never divided.

    Raises OptionsInvalid where a class has fewer patients than there are folds.
    """
    rows = [i for i, row in enumerate(loaded.rows) if row.split != "test"]
    names = np.array([loaded.rows[i].label for i in rows])
    sources = np.array([loaded.rows[i].source for i in rows])
    patients = np.array([loaded.rows[i].patient for i in rows])
    for label in CLASSES:
        if (found := len(set(patients[names == label]))) < options.folds or options.folds < 2:
            raise OptionsInvalid(f"{options.folds} folds cannot be made: class {label} has {found} patients.")
    truth = np.array([CLASSES.index(name) for name in names])
    class_p = np.zeros((len(rows), len(CLASSES)))
    inputs = loaded.inputs[rows]
    # Rare classes of a source are spread too, as far as their pictures go: scikit-learn warns where they are few.
    splitter = StratifiedGroupKFold(options.folds, shuffle=True, random_state=options.seed)
    strata = np.unique([f"{a} {b}" for a, b in zip(names, sources, strict=True)], return_inverse=True)[1]
    for number, (learn, ask) in enumerate(splitter.split(names, strata, patients)):

        def tell(told: Progress, number: int = number) -> None:
            progress(replace(told, stage=f"{told.stage}, fold {number + 1}"))

        estimator = make_estimator(options, device).fit(
            inputs[learn],
            names[learn],
            validation=(inputs[ask], names[ask]),
            tell=tell,
            checkpoint=Checkpoint(checkpoint.folder / f"fold-{number}", {"fold": number}),
            sources=sources[learn].tolist(),
        )
        logits = estimator.decision_function(inputs[ask])
        composition = estimator.composition_
        temperature = fit_temperature(logits, truth[ask], composition)
        class_p[ask] = composition.probabilities(softmax(logits, temperature))
    return Folded(truth, class_p, sources)


def plain_figures(truth: Array, class_p: Array, threshold: float) -> dict[str, Any]:
    """A few figures without intervals, for a bundle's record."""
    score, positive = class_p[:, CLASSES.index(POSITIVE)], truth == CLASSES.index(POSITIVE)
    answer = class_p.argmax(axis=1)
    figures = {
        "n": len(truth),
        "accuracy": float((answer == truth).mean()),
        "balanced_accuracy": balanced_accuracy(truth, answer, np.ones(len(truth))) or 0.0,
        "auroc": auroc(positive, score) or 0.0,
        "sensitivity": float((score[positive] >= threshold).mean()),
        "specificity": float((score[~positive] < threshold).mean()),
    }
    return {name: round(value, 4) for name, value in figures.items()}
