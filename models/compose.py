"""Compose: subclass probabilities back into classes. p(class) is the sum over its subclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Composition:
    """Which class each subclass belongs to: `parent[s]` is an index into `classes`."""

    classes: tuple[str, ...]
    subclasses: tuple[str, ...]
    parent: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.subclasses) != len(self.parent) or set(self.parent) != set(range(len(self.classes))):
            raise ValueError("each subclass belongs to one class, and each class has at least one")

    def probabilities(self, subclass_p: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Subclass probabilities [N, S] summed to class probabilities [N, C]."""
        belongs = np.eye(len(self.classes))[list(self.parent)]  # [S, C]
        return np.asarray(subclass_p @ belongs, dtype=np.float32)

    def members(self, label: str) -> npt.NDArray[np.int64]:
        """Indices of a class's subclasses."""
        return np.flatnonzero(np.array(self.parent) == self.classes.index(label))

    def decide(self, subclass_p: npt.NDArray[Any]) -> tuple[list[str], list[str]]:
        """Label and subclass of each row: the class with the largest sum, and the likeliest subclass within it.

        The likeliest subclass of all may belong to another class; the two answers must not contradict each other.
        """
        best = self.probabilities(subclass_p).argmax(axis=1)
        inside = np.array(self.parent)[None, :] == best[:, None]
        within = np.where(inside, subclass_p, -1.0).argmax(axis=1)
        return [self.classes[i] for i in best], [self.subclasses[i] for i in within]
