"""What the decomposition untangled: what each subclass holds, and how the test pictures that fall to it fare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_mutual_info_score

from models.bundle import Screener
from models.data import Row
from models.metrics import Bootstrap, share
from models.reports.answers import Answers, within_class

Array = npt.NDArray[Any]
# What a subclass may turn out to be, besides a kind of disease.
TRAITS = ("source", "view", "sex")
PLURAL = {"source": "sources", "view": "views", "sex": "sexes"}


def table(
    screener: Screener, train: Answers | None, test: Answers, resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each subclass. A picture falls to the likeliest subclass of its own label, right or wrong answered.

    `trained_on` is the number of pictures that the clustering gave it; `train.n` how many fall to it now.
    """
    composition, record = screener.composition, screener.record
    trained_on = {str(one["name"]): one.get("n") for one in record["subclasses"]}
    answer, place = test.class_p.argmax(axis=1), composition.classes.index(record["positive"])
    right = answer == test.truth(composition.classes)
    flagged = test.class_p[:, place] >= record["threshold"]
    fell = within_class(test, composition.parent, composition.classes)
    learnt = None if train is None else within_class(train, composition.parent, composition.classes)
    boot = Bootstrap(test.patient, resamples, seed)
    rows = []
    for number, (name, parent) in enumerate(zip(composition.subclasses, composition.parent, strict=True)):
        own = fell == number
        row: dict[str, Any] = {"name": name, "class": composition.classes[parent], "trained_on": trained_on[name]}
        if train is not None and learnt is not None:
            row["train"] = _content(train.rows, learnt == number)
        row["test"] = {
            **_content(test.rows, own),
            "right": boot.figure(lambda w, own=own: share(right, own, w)),  # type: ignore[misc]
            "flagged": boot.figure(lambda w, own=own: share(flagged, own, w)),  # type: ignore[misc]
            "answered": {label: int((own & (answer == i)).sum()) for i, label in enumerate(composition.classes)},
        }
        rows.append(row)
    return rows


def untangles(screener: Screener, answers: Answers) -> dict[str, dict[str, float | None]]:
    """For each class of several subclasses: how much the subclass tells of each trait, 0 nothing, 1 all.

    Adjusted mutual information (Vinh, Epps, Bailey, JMLR 2010), so that chance gives 0. Null where the class has one
    value of the trait only, or none is known.
    """
    composition = screener.composition
    fell = within_class(answers, composition.parent, composition.classes)
    truth = answers.truth(composition.classes)
    told: dict[str, dict[str, float | None]] = {}
    for number, label in enumerate(composition.classes):
        if len(composition.members(label)) > 1:
            own = np.flatnonzero(truth == number)
            told[label] = {trait: _shared([answers.rows[i] for i in own], fell[own], trait) for trait in TRAITS}
    return told


def _shared(rows: Sequence[Row], fell: Array, trait: str) -> float | None:
    values = [_trait(row, trait) for row in rows]
    known = [i for i, value in enumerate(values) if value]
    if len({values[i] for i in known}) < 2:
        return None
    return round(float(adjusted_mutual_info_score([values[i] for i in known], fell[known])), 4)


def _content(rows: Sequence[Row], own: Array) -> dict[str, Any]:
    members = [row for row, inside in zip(rows, own, strict=True) if inside]
    content: dict[str, Any] = {"n": len(members)}
    for trait in TRAITS:
        counted = Counter(_trait(row, trait) for row in members)
        if trait == "source" or set(counted) - {""}:
            content[PLURAL[trait]] = {value or "unknown": number for value, number in sorted(counted.items())}
    return content


def _trait(row: Row, trait: str) -> str:
    value: str = getattr(row, trait)
    return value.split()[0] if trait == "view" and value else value
