"""Does decomposing help? One first stage for each seed; only k, and with it the second stage, differs."""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import OptionsInvalid
from models.studies.study import Entry, StudyOptions

WHOLE = "k = 1"


def plan(options: StudyOptions, ks: Sequence[str | int] = ("auto", 2, 3)) -> list[Entry]:
    """k = 1 and each other k, seed by seed. Raises OptionsInvalid when there is nothing to compare."""
    others = [k for k in dict.fromkeys(ks) if k != 1]
    if not others:
        raise OptionsInvalid("An ablation compares k = 1 with another k; name one, for example --k auto,2.")
    return [
        Entry(f"k = {k}", seed, options.network(k=k), facts={"wanted_k": k})
        for seed in options.seeds
        for k in (1, *others)
    ]


def pairs(groups: Sequence[str]) -> list[tuple[str, str]]:
    """Which groups are compared: every other with k = 1."""
    return [(group, WHOLE) for group in groups if group != WHOLE and WHOLE in groups]
