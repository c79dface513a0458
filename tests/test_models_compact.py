"""A compacted bundle is half as large and says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrscreen.cli.common import SHIPPED
from cxrscreen.imaging import phantoms
from models import bundle
from models.compact import compact


def test_half_the_size_and_the_same_scores(phantom_bundle: Path, tmp_path: Path) -> None:
    small = compact(phantom_bundle, tmp_path / "small")
    sizes = [(folder / bundle.WEIGHTS).stat().st_size for folder in (phantom_bundle, small)]
    assert sizes[1] < 0.6 * sizes[0]
    pictures = [phantoms.phantom(kind, seed=5, side=160).astype(np.uint8) for kind in ("normal", "covid")]
    before, after = (bundle.load(folder).predict(pictures) for folder in (phantom_bundle, small))
    assert before.label == after.label
    assert after.score == pytest.approx(before.score, abs=1e-2)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bundle.BundleError):
        compact(tmp_path, tmp_path / "small")


def test_the_shipped_bundle_is_whole_and_small_and_no_phantom() -> None:
    folders = [path.parent for path in SHIPPED.glob("*/bundle.json")]
    assert folders
    for folder in folders:
        record = bundle.load(folder).record
        assert not record["phantom"]
        assert (folder / bundle.WEIGHTS).stat().st_size <= 25e6
        assert (folder / "MODEL_CARD.md").is_file()
