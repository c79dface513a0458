"""Chests of a hospital no bundle has seen, none with COVID-19: `python -m bench.elsewhere [BUNDLE...] [--data DATA]`.

They are children's (DATA/paediatric), who get no score where the age is known, and are in no training. As a stranger's
pictures they show what a network does with a look it never met: one that learned archives in place of lungs calls
whatever is strange COVID-19. The open set's COVID-19 test pictures are what they are held against.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.unlike import DATA, SHIPPED, chests, children
from models import bundle
from models.data import POSITIVE, read_index
from models.metrics import auroc


def main(folders: list[Path], data: Path) -> None:
    sick = [row.label == POSITIVE for row in read_index(data / "cxr" / "index.csv").split("test")]
    known = [pixels for pixels, positive in zip(chests(data, "test"), sick, strict=True) if positive]
    strange = children(data, every=1)
    title = (
        f"{len(strange)} chests of another hospital, none with COVID-19, against {len(known)} of the test split with it"
    )
    table = Table("bundle", "most probably COVID-19", "flagged", "AUROC", box=None, title=title)
    for folder in folders:
        screener = bundle.load(folder)
        there, here = (screener.predict(images) for images in (strange, known))
        called = np.mean([label == POSITIVE for label in there.label])
        flagged = (there.score >= screener.record["threshold"]).mean()
        truth = np.arange(len(known) + len(strange)) < len(known)
        apart = auroc(truth, np.concatenate([here.score, there.score]))
        table.add_row(screener.record["name"], f"{called:.0%}", f"{flagged:.0%}", f"{apart:.3f}")
    Console().print(table)


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.elsewhere")
    options.add_argument(
        "bundles", type=Path, nargs="*", default=[SHIPPED], help="folders; default: the one in the box"
    )
    options.add_argument("--data", type=Path, default=Path(os.environ.get("CXRSCREEN_TEST_DATA", DATA)),
                         help="the folder of real files; default: $CXRSCREEN_TEST_DATA")  # fmt: skip
    return options.parse_args()


if __name__ == "__main__":
    given = arguments()
    main(given.bundles, given.data)
