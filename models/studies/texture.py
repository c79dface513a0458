"""The classifier before deep learning: texture features and a support vector machine.

Grey-level co-occurrence (Haralick, Shanmugam, Dinstein 1973) at three distances, and histograms of uniform local
binary patterns (Ojala, Pietikäinen, Mäenpää 2002) of the whole picture and of its quarters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from models.errors import OptionsInvalid

GREYS = 32
DISTANCES = (1, 2, 4)
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
RINGS = ((8, 1), (16, 2), (24, 3))
GRID = {"svc__C": [0.3, 1, 3, 10, 30, 100], "svc__gamma": [0.0003, 0.001, 0.003, 0.01, 0.03]}
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def texture(picture: Pixels) -> Floats:
    """Features [F] of a picture (H, W) uint8."""
    # scikit-image is slow to import, and only this needs it.
    from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

    pairs = graycomatrix(picture // (256 // GREYS), DISTANCES, ANGLES, GREYS, symmetric=True, normed=True)  # type: ignore[no-untyped-call]
    parts = []
    for name in PROPERTIES:
        values = graycoprops(pairs, name)  # type: ignore[no-untyped-call]  # [distances, angles]
        parts += [values.mean(axis=1), np.ptp(values, axis=1)]
    high, wide = picture.shape[0] // 2, picture.shape[1] // 2
    for points, radius in RINGS:
        codes = local_binary_pattern(picture, points, radius, "uniform").astype(np.int64)  # type: ignore[no-untyped-call]
        quarters = (codes[:high, :wide], codes[:high, wide:], codes[high:, :wide], codes[high:, wide:])
        for part in (codes, *quarters):
            parts.append(np.bincount(part.ravel(), minlength=points + 2) / part.size)
    return np.concatenate(parts)


class TextureSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Standardised texture features and an RBF machine; C and gamma by cross-validation in which patients stay whole.

    Attributes: classes_, best_ (C, gamma and the balanced accuracy they had in cross-validation).
    """

    def __init__(self, folds: int = 5, random_state: int = 0) -> None:
        self.folds = folds
        self.random_state = random_state

    def fit(
        self,
        X: Sequence[Pixels] | Pixels,
        y: Sequence[str],
        groups: Sequence[str],
        tell: Callable[[], None] = lambda: None,
    ) -> Self:
        """Fit on pictures (H, W) uint8, their labels and patients. `tell` is called after each picture."""
        labels, patients = np.asarray(y), np.asarray(groups)
        least = min(len(np.unique(patients[labels == label])) for label in np.unique(labels))
        folds = min(self.folds, least)
        if folds < 2:
            raise OptionsInvalid("Texture features need two patients of each class to choose C and gamma.")
        features = _features(X, tell)
        splits = StratifiedGroupKFold(folds, shuffle=True, random_state=self.random_state)
        machine = make_pipeline(
            StandardScaler(), SVC(class_weight="balanced", decision_function_shape="ovr", break_ties=True)
        )
        search = GridSearchCV(machine, GRID, scoring="balanced_accuracy", cv=splits)
        search.fit(features, labels, groups=patients)
        self.machine_ = search.best_estimator_
        self.classes_: npt.NDArray[Any] = self.machine_.classes_
        chosen = {name.removeprefix("svc__"): value for name, value in search.best_params_.items()}
        self.best_ = chosen | {"balanced_accuracy": round(float(search.best_score_), 4)}
        return self

    def decision_function(self, X: Sequence[Pixels] | Pixels, tell: Callable[[], None] = lambda: None) -> Floats:
        """A score for each class [N, C], the higher the likelier."""
        check_is_fitted(self)
        scores = np.asarray(self.machine_.decision_function(_features(X, tell)), dtype=np.float64)
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores

    def predict(self, X: Sequence[Pixels] | Pixels) -> npt.NDArray[Any]:
        return np.asarray(self.classes_[self.decision_function(X).argmax(axis=1)])


def _features(pictures: Sequence[Pixels] | Pixels, tell: Callable[[], None]) -> Floats:
    rows = []
    for picture in pictures:
        rows.append(texture(picture))
        tell()
    return np.stack(rows)
