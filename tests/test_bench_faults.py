"""The bench of faults in small: one of most kinds, on a stack with a second machine and a PostgreSQL of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import forget_settings

from bench import faults

pytestmark = pytest.mark.stack


def test_nothing_is_lost_whatever_is_killed(
    phantom_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("CXRSCREEN_") and "TEST_DATA" not in name]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    try:
        report = faults.run(tmp_path, images=80, faults=8, seed=5, version=phantom_bundle, patience=(0.5, 4.0))
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        forget_settings()
    faults.show(report)
    wanted = {"images", "faults", "lost", "duplicates", "stuck", "account_errors", "slowdown"}
    assert wanted <= set(report)
    assert report["images"] == 80 and report["faults"] >= 5 and report["samples"] > 20
    assert report["wrong"] == []
    assert [report[name] for name in ("lost", "duplicates", "stuck", "differ", "account_errors")] == [0] * 5
    assert set(report["without_faults"].values()) == {0}
