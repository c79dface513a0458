"""From an INDEX to a bundle."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cxrscreen.imaging import PREPROCESSING
from models import bundle
from models.data import CLASSES, POSITIVE, Index, read_index, require_trainable
from models.detrac import DeTraC
from models.device import pick_device, torch_threads
from models.errors import ModelsError, OptionsInvalid
from models.explain import fit_scale
from models.images import normalise
from models.learning.calibrate import fit_temperature, fit_threshold, softmax
from models.learning.checkpoint import Checkpoint
from models.learning.folds import Folded, make_estimator, out_of_fold, plain_figures
from models.learning.loop import Progress, Tell
from models.learning.recipes import TrainOptions, resolve
from models.loading import Loaded, load
from models.running.likeness import Likeness

__all__ = ["Progress", "TrainOptions", "train"]

# A picture is refused only when it lies this much farther from every subclass than 99 in 100 validation pictures; the
# farthest one is left out of it, since one odd picture would open the gate to everything.
GENEROUS, ODD = 1.5, 0.99
LOG = "log.csv"


def train(index: Path, out: Path, options: TrainOptions, progress: Tell = lambda _: None) -> Path:
    """Train on an index and write the bundle to `out`; answers `out`.

    Interrupted, it leaves `out/checkpoint`, and the same call goes on from there. The old bundle in `out` stays until
    the new one is whole. Beside the bundle stands `log.csv`, a row for each epoch. Nothing written holds a date, so
    that two equal trainings on one machine are equal byte by byte.
    Raises IndexInvalid, OptionsInvalid, WeightsInvalid or TrainingFailed, each with one line.
    """
    if not 0 < options.sensitivity <= 1:
        raise OptionsInvalid(f"The target sensitivity lies between 0 and 1, not at {options.sensitivity}.")
    recipe = resolve(options.recipe, asdict(options))
    device = pick_device(options.device)
    _require_free(out)
    read = read_index(index, options.seed)
    require_trainable(read)
    with torch_threads(options.threads):
        loaded = load(
            read.split("train", "val", "test"),
            recipe.size,
            progress=lambda n, of: progress(Progress("images", n, of)),
            crop=recipe.crop,
        )
        settings = {name: value for name, value in asdict(options).items() if name not in ("threads", "name")}
        checkpoint = Checkpoint(out / "checkpoint", {**settings, "data": loaded.fingerprint()})
        estimator = make_estimator(options, str(device))
        learn, judge = loaded.split("train"), loaded.split("val")
        try:
            estimator.fit(
                learn.inputs,
                _names(learn),
                validation=(judge.inputs, _names(judge)),
                tell=progress,
                checkpoint=checkpoint,
                sources=[row.source for row in learn.rows],
            )
            folded = None
            if options.folds:
                folded = out_of_fold(loaded, options, str(device), checkpoint, progress)
        except ModelsError:
            checkpoint.remove()  # going on from there would only end there again
            raise
        progress(Progress("calibrate", 0, 1))
        record, likeness = _judge(estimator, learn, judge, options, folded)
        record |= _describe(read, loaded, estimator, options)
        more = {f"decompose.{name}": array for name, array in estimator.decomposer_.to_arrays().items()}
        _write_log(out, estimator.log_)
        bundle.save(out, record, estimator.network_, likeness, more)
    checkpoint.remove()
    progress(Progress("calibrate", 1, 1, val=record["figures"]["val"]))
    return out


def _judge(
    estimator: DeTraC, learn: Loaded, judge: Loaded, options: TrainOptions, folded: Folded | None
) -> tuple[dict[str, Any], Likeness]:
    """Temperature, figures and the limit of the distance gate from validation, the gate from training.

    The threshold is chosen on the folds where there are any, else on validation; all figures are at that threshold.
    """
    composition = estimator.composition_
    truth = judge.labels.numpy()
    logits = estimator.decision_function(judge.inputs)
    temperature = fit_temperature(logits, truth, composition)
    class_p = composition.probabilities(softmax(logits, temperature))
    positive = truth == CLASSES.index(POSITIVE)
    score = class_p[:, CLASSES.index(POSITIVE)]
    if folded is None:
        threshold = fit_threshold(score, positive, options.sensitivity)
    else:
        threshold = fit_threshold(folded.score, folded.positive, options.sensitivity)
    likeness = Likeness.fit(estimator.glance(learn.inputs), estimator.subclass_labels_)
    # Of validation alone: the gate was fitted on the training pictures, which lie nearer than any new one will.
    seen = likeness.distance(estimator.glance(judge.inputs))
    figures = {"val": plain_figures(truth, class_p, threshold)}
    if folded is not None:
        figures["cv"] = folded.figures(threshold, options.folds)
    sick = normalise(judge.inputs[positive], estimator.mean_, estimator.std_)
    record = {
        "threshold": threshold,
        "temperature": temperature,
        "heat_scale": fit_scale(estimator.network_, sick, composition.members(POSITIVE), temperature),
        "distance_limit": round(float(np.quantile(seen, ODD)) * GENEROUS, 4),
        "figures": figures,
    }
    return record, likeness


def _describe(read: Index, loaded: Loaded, estimator: DeTraC, options: TrainOptions) -> dict[str, Any]:
    fingerprint = loaded.fingerprint()
    decomposer, recipe = estimator.decomposer_, estimator.recipe_
    sizes = np.bincount(estimator.subclass_labels_, minlength=len(decomposer.subclasses_))
    kind = "phantom" if options.phantom else "detrac"
    return {
        "name": options.name or f"{kind}-{recipe.backbone}-{fingerprint[:8]}-s{options.seed}",
        # No date: it would make two equal trainings differ. The registry notes when a model came.
        "created": None,
        "backbone": recipe.backbone,
        "output_stride": recipe.stride,
        "pretrained": estimator.start_ is not None,
        "classes": list(CLASSES),
        "subclasses": [
            {"name": name, "class": CLASSES[parent], "n": int(n)}
            for name, parent, n in zip(decomposer.subclasses_, decomposer.parent_, sizes, strict=True)
        ],
        "k": decomposer.k_,
        "positive": POSITIVE,
        "input_size": recipe.size,
        "crop": recipe.crop,
        "mean": estimator.mean_,
        "std": estimator.std_,
        "preprocessing": PREPROCESSING,
        "phantom": options.phantom,
        "data": {
            "fingerprint": fingerprint,
            "n": len(loaded.rows),
            "sources": dict(sorted(Counter(row.source for row in loaded.rows).items())),
            "splits": read.counts(),
            "split_seed": read.split_seed,
        },
        "recipe": {
            **estimator.settings(),
            "sensitivity": options.sensitivity,
            "folds": options.folds,
        },
    }


def _names(loaded: Loaded) -> list[str]:
    return [row.label for row in loaded.rows]


def _require_free(out: Path) -> None:
    """OUT is new, empty, a bundle (which is replaced) or an interrupted training (which goes on); else an error."""
    if out.exists() and not out.is_dir():
        raise OptionsInvalid(f"{out} is a file; --out names a folder.")
    if out.is_dir() and any(out.iterdir()) and not any((out / n).exists() for n in (bundle.RECORD, "checkpoint")):
        raise OptionsInvalid(f"{out} holds something else than a bundle; name a new or an empty folder.")


def _write_log(out: Path, log: list[dict[str, Any]]) -> None:
    with (out / LOG).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(log[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in log)
