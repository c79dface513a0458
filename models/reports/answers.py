"""What a bundle says of the pictures of an index, whole and as the audits leave them, held for everything after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from models.bundle import Screener
from models.data import Row
from models.images import Pixels, normalise, stack
from models.learning.calibrate import softmax
from models.loading import pictures
from models.reports import masks

Array = npt.NDArray[Any]
Told = Callable[[int, int], None]
CHUNK = 64
WHOLE = "whole"
# Side of the thumbnail that stands for the plain look of a picture.
THUMB = 16


@dataclass(frozen=True)
class Answers:
    """Of N pictures: class_p [N, C], subclass_p [N, S], distance [N] or None, features [N, D] of the last hidden layer
    or None, thumbs [N, 256] (the picture at 16 x 16), taken [N] (the share of the picture that a mask took away)."""

    rows: tuple[Row, ...]
    class_p: Array
    subclass_p: Array
    distance: Array | None
    features: Array | None
    thumbs: Array
    taken: Array

    def truth(self, classes: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([list(classes).index(row.label) for row in self.rows], dtype=np.int64)

    @property
    def patient(self) -> Array:
        return np.array([row.patient for row in self.rows])

    @property
    def source(self) -> Array:
        return np.array([row.source for row in self.rows])


def screen(
    screener: Screener,
    rows: tuple[Row, ...],
    variants: Sequence[str] = (WHOLE,),
    *,
    features: bool = False,
    progress: Told = lambda done, of: None,
) -> dict[str, Answers]:
    """Screen rows as the worker would, once for each variant (`whole`, or a name in masks.AUDITS)."""
    gathered: dict[str, list[Answers]] = {name: [] for name in variants}
    waiting: list[Pixels] = []
    for done, (_, pixels) in enumerate(pictures(rows), start=1):
        waiting.append(pixels)
        if len(waiting) == CHUNK or done == len(rows):
            own = rows[done - len(waiting) : done]
            for name in variants:
                gathered[name].append(_answer(screener, own, waiting, name, features))
            waiting = []
            progress(done, len(rows))
    return {name: _joined(parts) for name, parts in gathered.items()}


def within_class(answers: Answers, parent: Sequence[int], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """The likeliest subclass of each picture among those of its own label, int [N]."""
    own = np.array(parent)[None, :] == answers.truth(classes)[:, None]
    return np.asarray(np.where(own, answers.subclass_p, -1.0).argmax(axis=1), dtype=np.int64)


def _answer(screener: Screener, rows: tuple[Row, ...], pixels: list[Pixels], variant: str, features: bool) -> Answers:
    shown, taken = pixels, np.zeros(len(pixels))
    if variant != WHOLE:
        masked = [masks.apply(variant, one) for one in pixels]
        shown, taken = [one for one, _ in masked], np.array([share for _, share in masked])
    thumbs = np.stack([np.asarray(Image.fromarray(one).resize((THUMB, THUMB), Image.Resampling.BOX)) for one in shown])
    thumbs = thumbs.reshape(len(shown), -1)
    if features and len(rows) and rows[0].split == "train":
        # Nothing is told of training pictures that a worker would say: one pass gives features and answers.
        pooled, subclass_p = _pooled(screener, shown)
        class_p = screener.composition.probabilities(subclass_p)
        return Answers(rows, class_p, subclass_p, None, pooled, thumbs, taken)
    said = screener.predict(shown)
    more = _pooled(screener, shown)[0] if features else None
    return Answers(rows, said.class_p, said.subclass_p, said.distance, more, thumbs, taken)


@torch.inference_mode()
def _pooled(screener: Screener, pixels: list[Pixels]) -> tuple[Array, Array]:
    """Pooled features [N, D] and subclass probabilities [N, S]."""
    record, network = screener.record, screener.network
    device = next(network.parameters()).device
    inputs = normalise(stack(pixels, screener.size, screener.crop), record["mean"], record["std"]).to(device)
    pooled = network.features(inputs)[1]
    logits = network.head(pooled).cpu().numpy()
    return pooled.cpu().numpy(), softmax(logits, float(record["temperature"]))


def _joined(parts: list[Answers]) -> Answers:
    def whole(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    names = ("class_p", "subclass_p", "distance", "features", "thumbs", "taken")
    return Answers(tuple(row for part in parts for row in part.rows), *(whole(name) for name in names))
