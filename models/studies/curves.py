"""Few and uneven: how much is learnt from fewer patients, and from a class that is rare, decomposed against whole.

Validation and test stay as they are. Patients are drawn whole, each class for itself, and smaller draws lie inside
larger ones of the same seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from models.data import CLASSES, POSITIVE, Row
from models.errors import OptionsInvalid
from models.learning.recipes import resolve
from models.studies.study import Entry, StudyOptions

SHARES = (10, 25, 50, 100)
RATIOS = (1, 5, 20)
# A tenth of the pictures makes a tenth of the steps an epoch; so far are epochs added for it.
MOST_EPOCHS = 4


def share_of(rows: Sequence[Row], percent: int, seed: int) -> tuple[int, ...]:
    """Rows of a share of the patients of each class, one patient at least."""
    if not 0 < percent <= 100:
        raise OptionsInvalid(f"A share of the patients lies between 1 and 100 per cent, not at {percent}.")
    chosen: list[int] = []
    for patients in _drawn(rows, seed).values():
        number = max(1, round(len(patients) * percent / 100))
        chosen += [i for own in patients[:number] for i in own]
    return tuple(sorted(chosen))


def ratio_of(rows: Sequence[Row], rest: int, seed: int, ratios: Sequence[int] = RATIOS) -> tuple[int, ...]:
    """Rows with COVID at 1:`rest` against all others, of one number in all for all `ratios`, so that only the balance
    differs: the largest number that every ratio can be drawn from. Patients are whole: it is met within a few pictures.
    """
    drawn = _drawn(rows, seed)
    positive = sum(row.label == POSITIVE for row in rows)
    others = len(rows) - positive
    total = min(min(positive * (1 + ratio), others * (1 + ratio) / ratio) for ratio in ratios)
    wanted = {POSITIVE: total / (1 + rest)}
    for label in CLASSES:
        if label != POSITIVE:
            own = sum(row.label == label for row in rows)
            wanted[label] = (total - wanted[POSITIVE]) * own / others
    chosen: list[int] = []
    for label, patients in drawn.items():
        number = 0
        for own_rows in patients:
            # At least one patient; then while the next one brings the count nearer.
            if number and abs(number + len(own_rows) - wanted[label]) > abs(number - wanted[label]):
                continue
            chosen += own_rows
            number += len(own_rows)
            if number >= wanted[label]:
                break
    return tuple(sorted(chosen))


def curve_plan(
    options: StudyOptions, rows: Sequence[Row], shares: Sequence[int] = SHARES, k: str | int = "auto"
) -> list[Entry]:
    parts = {f"{share} %": (share, lambda seed, share=share: share_of(rows, share, seed)) for share in shares}
    return _plan(options, rows, parts, k)


def imbalance_plan(
    options: StudyOptions, rows: Sequence[Row], ratios: Sequence[int] = RATIOS, k: str | int = "auto"
) -> list[Entry]:
    if any(ratio < 1 for ratio in ratios):
        raise OptionsInvalid("COVID stands at 1:N against the rest, N from 1 on.")
    parts = {f"1:{n}": (n, lambda seed, n=n: ratio_of(rows, n, seed, ratios)) for n in ratios}
    return _plan(options, rows, parts, k)


def pairs(groups: Sequence[str]) -> list[tuple[str, str]]:
    """At each place of the curve, decomposed against k = 1."""
    found = []
    for group in groups:
        place = group.split(", k = ")[0]
        whole = f"{place}, k = 1"
        if group != whole and whole in groups:
            found.append((group, whole))
    return found


def _plan(options: StudyOptions, rows: Sequence[Row], parts: dict, k: str | int) -> list[Entry]:  # type: ignore[type-arg]
    if k == 1:
        raise OptionsInvalid("The decomposed side needs a k other than 1.")
    recipe = resolve(options.recipe, options.network())
    epochs = recipe.backbone_stage.epochs + recipe.transfer_stage.epochs
    entries = []
    for seed in options.seeds:
        for place, (value, draw) in parts.items():
            chosen = draw(seed)
            longer = round(epochs * min(MOST_EPOCHS, len(rows) / len(chosen)))
            for arm in (1, k):
                network = options.network(k=arm) | {"epochs": longer}
                patients = len({rows[i].patient for i in chosen})
                facts = {"place": value, "wanted_k": arm, "patients": patients}
                entries.append(Entry(f"{place}, k = {arm}", seed, network, chosen, facts))
    return entries


def _drawn(rows: Sequence[Row], seed: int) -> dict[str, list[list[int]]]:
    """For each class its patients in an order drawn from the seed, each as its rows. A patient counts for the rarest
    of its labels, as in the splits."""
    own: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        own[row.patient].append(i)
    frequency = Counter(row.label for row in rows)
    strata: dict[str, list[list[int]]] = {label: [] for label in CLASSES if frequency[label]}
    for patient in sorted(own):
        label = min((rows[i].label for i in own[patient]), key=lambda name: (frequency[name], name))
        strata[label].append(own[patient])
    chance = np.random.default_rng(seed)
    return {label: [lists[i] for i in chance.permutation(len(lists))] for label, lists in strata.items()}
