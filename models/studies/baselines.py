"""What the classifier has to be better than, trained and judged in the same harness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.errors import OptionsInvalid
from models.studies.study import TEXTURE, Entry, StudyOptions


@dataclass(frozen=True)
class Baseline:
    """`own` stands over what the study's options say. `ours`: it begins with the weights that ours begins with."""

    name: str
    what: str
    own: dict[str, Any] = field(default_factory=dict)
    ours: bool = False


# Plain networks are k = 1 in the same two stages, so that nothing but the network differs. Without normalisation layers
# AlexNet and VGG need a smaller step.
PLAIN: dict[str, Any] = {"recipe": "scratch", "k": 1, "tuning": "deep"}
BASELINES = (
    Baseline("texture", "GLCM and LBP features, support vector machine"),
    Baseline("alexnet", "AlexNet", {**PLAIN, "backbone": "alexnet", "lr": 1e-4}),
    Baseline("vgg19", "VGG19", {**PLAIN, "backbone": "vgg19", "lr": 1e-4}),
    Baseline("xception", "Xception", {**PLAIN, "backbone": "legacy_xception"}),
    Baseline("scratch", "RegNetX-400MF from nothing, k = 1", {**PLAIN, "backbone": ""}),
    Baseline("detrac", "the authors' schedule, ResNet18, k = 2", {"recipe": "detrac", "backbone": "", "lr": None}),
    Baseline("plain", "ours with k = 1", {"k": 1, "tuning": "deep"}, ours=True),
    Baseline("shallow", "ours, last layer only", {"tuning": "shallow"}, ours=True),
    Baseline("fine", "ours, layer by layer", {"tuning": "fine"}, ours=True),
    Baseline("deep", "ours, all layers", {"tuning": "deep"}, ours=True),
    Baseline("ours", "the recipe as `train` runs it", {}, ours=True),
)
NAMES = tuple(one.name for one in BASELINES)
# From here on it takes long: these come last, so that an interrupted table has the most rows.
SLOW = ("alexnet", "xception", "vgg19")


def plan(options: StudyOptions, only: Sequence[str] = ()) -> list[Entry]:
    """The entries of the table, the slow ones last. Raises OptionsInvalid for an unknown name."""
    for name in only:
        if name not in NAMES:
            raise OptionsInvalid(f"There is no baseline {name!r}; there are {', '.join(NAMES)}.")
    chosen = [one for one in BASELINES if not only or one.name in only]
    entries = []
    for one in sorted(chosen, key=lambda one: SLOW.index(one.name) + 1 if one.name in SLOW else 0):
        if one.name == TEXTURE:
            entries.append(Entry(TEXTURE, options.seeds[0], {"kind": TEXTURE}, facts={"what": one.what}))
            continue
        network = options.network()
        if not one.ours:
            network |= {"weights": None, "pretrained": options.pretrained or False}
        network |= one.own
        entries += [Entry(one.name, seed, network, facts={"what": one.what}) for seed in options.seeds]
    return entries
