"""The bench of faults in small: one of most kinds, on a stack with a second machine and a PostgreSQL of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import faults

pytestmark = pytest.mark.stack


def test_nothing_is_lost_whatever_is_killed(bare_environment: None, phantom_bundle: Path, tmp_path: Path) -> None:
    report = faults.run(tmp_path, images=80, faults=8, seed=5, version=phantom_bundle, patience=(0.5, 4.0))
    faults.show(report)
    wanted = {"images", "faults", "lost", "duplicates", "stuck", "account_errors", "slowdown"}
    assert wanted <= set(report)
    assert report["images"] == 80 and report["faults"] >= 5 and report["samples"] > 20
    assert report["wrong"] == []
    assert [report[name] for name in ("lost", "duplicates", "stuck", "differ", "account_errors")] == [0] * 5
    assert set(report["without_faults"].values()) == {0}
