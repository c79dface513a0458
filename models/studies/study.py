"""A study: several trainings on one split, each judged by the same figures on the same test pictures.

A study is a plan of entries. A finished entry is a row of DIR/results.json with its answers in DIR/scores; it is not
trained again. The test split is read once an entry, when its network, temperature and threshold stand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.compose import Composition
from models.data import CLASSES, POSITIVE, read_index, require_trainable
from models.decompose import ClassDecomposer
from models.detrac import DeTraC
from models.device import pick_device, torch_threads
from models.errors import ModelsError, OptionsInvalid, TrainingFailed
from models.evaluation import report
from models.learning.calibrate import fit_temperature, fit_threshold, softmax
from models.learning.loop import Progress, Tell
from models.learning.recipes import describe, resolve
from models.learning.weights import packaged
from models.loading import Loaded, load
from models.studies.book import Book
from models.studies.measures import Scored
from models.studies.shared_stage import SharedStage, digest
from models.studies.texture import TextureSVM

TEXTURE = "texture"


@dataclass(frozen=True)
class Entry:
    """One training: `group` is its line in the table, `options` are DeTraC's parameters, or {"kind": TEXTURE}.

    `train` are the training rows that take part, None for all. `facts` go to the row as they are.
    """

    group: str
    seed: int
    options: Mapping[str, Any]
    train: tuple[int, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.group}, seed {self.seed}"


@dataclass(frozen=True)
class Data:
    """The three splits at one size."""

    learn: Loaded
    judge: Loaded
    test: Loaded

    def part(self, chosen: tuple[int, ...] | None) -> Loaded:
        """The training rows chosen."""
        if chosen is None:
            return self.learn
        rows = list(chosen)
        return Loaded(
            tuple(self.learn.rows[i] for i in rows),
            self.learn.inputs[rows],
            self.learn.labels[rows],
            tuple(self.learn.hashes[i] for i in rows),
        )


@dataclass(frozen=True)
class StudyOptions:
    """What every training of a study shares; None and "" mean what the recipe says."""

    recipe: str = "best"
    backbone: str = ""
    tuning: str = "deep"
    size: int | None = None
    epochs: int | None = None
    batch: int | None = None
    lr: float | None = None
    weights: Path | None = None
    pretrained: bool | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    sensitivity: float = 0.95
    resamples: int = 1000
    threads: int = 0
    device: str = "auto"

    def network(self, **more: Any) -> dict[str, Any]:
        """DeTraC's parameters."""
        names = ("recipe", "backbone", "tuning", "size", "epochs", "batch", "lr", "weights", "pretrained")
        return {name: getattr(self, name) for name in names} | {"device": str(pick_device(self.device))} | more


RowTell = Callable[[int, int, str], None]


def open_data(index: Path, options: StudyOptions, tell: Tell = lambda _: None) -> Data:
    """Read an index for a study. Raises IndexInvalid or OptionsInvalid."""
    if not 0 < options.sensitivity <= 1:
        raise OptionsInvalid(f"The target sensitivity lies between 0 and 1, not at {options.sensitivity}.")
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise OptionsInvalid("Seeds are whole numbers, one at least and each once.")
    recipe = resolve(options.recipe, options.network())
    read = read_index(index)
    require_trainable(read)
    if not read.split("test"):
        raise OptionsInvalid(f"{index}: there is no picture in split test.")
    loaded = load(read.rows, recipe.size, progress=lambda n, of: tell(Progress("images", n, of)), crop=recipe.crop)
    return Data(*(loaded.split(name) for name in ("train", "val", "test")))


def run_entries(
    entries: Sequence[Entry], data: Data, book: Book, options: StudyOptions, tell: Tell, row: RowTell
) -> None:
    """Run what is not finished. Everything that can be known to fail is said before the first training."""
    wanted = [_settings(entry, data, options) for entry in entries]
    for entry, settings in zip(entries, wanted, strict=True):
        book.require(entry.name, settings)
        if entry.options.get("kind") != TEXTURE:
            k = resolve(entry.options["recipe"], dict(entry.options)).k
            ClassDecomposer(k).check([one.label for one in data.part(entry.train).rows])
    with torch_threads(options.threads):
        for done, (entry, settings) in enumerate(zip(entries, wanted, strict=True)):
            row(done, len(entries), entry.name)
            if entry.name in book:
                continue
            if (twin := book.twin(settings)) is not None:
                book.copy(twin, entry.name, {"group": entry.group, **entry.facts})
                continue
            _run(entry, settings, data, book, options, tell)
        row(len(entries), len(entries), "")


def _run(entry: Entry, settings: dict[str, Any], data: Data, book: Book, options: StudyOptions, tell: Tell) -> None:
    begun = time.perf_counter()
    learn = data.part(entry.train)
    try:
        if entry.options.get("kind") == TEXTURE:
            val, test, composition, facts = _texture(entry, learn, data, tell)
        else:
            val, test, composition, facts = _network(entry, settings, learn, data, book, tell)
    except TrainingFailed as error:
        raise TrainingFailed(f"{entry.name}: {error}") from None
    seconds = round(time.perf_counter() - begun, 1)
    answers, threshold = _judge(val, test, composition, data, options.sensitivity)
    figures = report(data.test.rows, answers.p, CLASSES, POSITIVE, threshold, resamples=options.resamples)
    told = {
        "group": entry.group,
        "seed": entry.seed,
        **entry.facts,
        "train": {label: int((learn.labels == i).sum()) for i, label in enumerate(CLASSES)},
        **facts,
        "seconds": seconds,
        "threshold": threshold,
        "settings": settings,
        "report": figures,
    }
    book.add(entry.name, told, answers)


def _network(
    entry: Entry, settings: dict[str, Any], learn: Loaded, data: Data, book: Book, tell: Tell
) -> tuple[Any, Any, Composition, dict[str, Any]]:
    speeds: list[float] = []

    def listen(told: Progress) -> None:
        if told.stage == "backbone" and told.images_per_second:
            speeds.append(told.images_per_second)
        tell(told)

    stages = SharedStage(book.folder / "stages", settings, first=_first_stage(settings))
    estimator = DeTraC(**entry.options, random_state=entry.seed, positive=POSITIVE)
    try:
        estimator.fit(
            learn.inputs,
            [row.label for row in learn.rows],
            validation=(data.judge.inputs, [row.label for row in data.judge.rows]),
            tell=listen,
            checkpoint=stages,
            sources=[row.source for row in learn.rows],
        )
    except ModelsError:
        stages.forget()  # going on from there would only end there again
        raise
    logits = [estimator.decision_function(part.inputs) for part in (data.judge, data.test)]
    stages.remove()
    sizes = np.bincount(estimator.subclass_labels_, minlength=len(estimator.composition_.subclasses))
    facts = {
        "k": estimator.decomposer_.k_,
        "subclasses": dict(zip(estimator.composition_.subclasses, map(int, sizes), strict=True)),
        "parameters": sum(p.numel() for p in estimator.network_.parameters()),
        "images_per_second": round(float(np.median(speeds)), 1) if speeds else None,
        "stage_1_reused": not speeds,
    }
    return logits[0], logits[1], estimator.composition_, facts


def _texture(entry: Entry, learn: Loaded, data: Data, tell: Tell) -> tuple[Any, Any, Composition, dict[str, Any]]:
    of = sum(len(part.rows) for part in (learn, data.judge, data.test))
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        tell(Progress("texture", done, of))

    machine = TextureSVM(random_state=entry.seed)
    patients = [row.patient for row in learn.rows]
    machine.fit(learn.inputs[:, 0].numpy(), [row.label for row in learn.rows], patients, count)
    logits = [machine.decision_function(part.inputs[:, 0].numpy(), count) for part in (data.judge, data.test)]
    return logits[0], logits[1], Composition(CLASSES, CLASSES, tuple(range(len(CLASSES)))), {"chosen": machine.best_}


def _judge(val: Any, test: Any, composition: Composition, data: Data, sensitivity: float) -> tuple[Scored, float]:
    """Temperature and threshold from validation, as `train` fits them; then the answers on the test split."""
    truth = data.judge.labels.numpy()
    temperature = fit_temperature(val, truth, composition)
    positive = CLASSES.index(POSITIVE)
    score = composition.probabilities(softmax(val, temperature))[:, positive]
    threshold = fit_threshold(score, truth == positive, sensitivity)
    return Scored(composition.probabilities(softmax(test, temperature)), threshold), threshold


def _settings(entry: Entry, data: Data, options: StudyOptions) -> dict[str, Any]:
    """Everything a row depends on, as JSON can hold it."""
    learn = data.part(entry.train)
    told: dict[str, Any] = {
        "seed": entry.seed,
        "train": learn.fingerprint(),
        "val": data.judge.fingerprint(),
        "test": data.test.fingerprint(),
        "size": data.learn.inputs.shape[-1],
        "sensitivity": options.sensitivity,
        "resamples": options.resamples,
    }
    if entry.options.get("kind") == TEXTURE:
        return told | {"kind": TEXTURE}
    recipe = resolve(entry.options["recipe"], dict(entry.options))
    weights = entry.options.get("weights")
    if weights is not None:
        start = digest(Path(weights))
    elif recipe.pretrained:
        start = "package" if packaged(recipe.backbone) else "hub"
    else:
        start = ""
    return (
        told
        | {"kind": "network", "tuning": entry.options["tuning"], "start": start}
        | {f"recipe.{name}": value for name, value in describe(recipe).items() if name not in ("name", "size")}
    )


def _first_stage(settings: dict[str, Any]) -> dict[str, Any]:
    """What the first stage depends on; networks that differ in the rest only share it."""
    later = ("recipe.k", "recipe.transfer_stage", "recipe.restart", "test", "sensitivity", "resamples")
    first = {name: value for name, value in settings.items() if name not in later}
    if not settings["start"]:  # from nothing, the tuning begins with stage 2
        first.pop("tuning")
    return first
