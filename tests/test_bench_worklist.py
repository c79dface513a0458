"""The bench of the worklist in small: it runs from the archive to the report, so that it cannot rot unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import worklist

pytestmark = pytest.mark.stack


def test_a_small_run_reports_every_figure(
    bare_environment: None, monkeypatch: pytest.MonkeyPatch, phantom_bundle: Path
) -> None:
    monkeypatch.setenv("CXRSCREEN_ENGINE", "torch")  # which is the quickest is measured elsewhere, and takes seconds
    parts = ["db", "http", "busy", *(["browser"] if shutil.which("chromium") else [])]
    report = worklist.run(3000, parts, rounds=2, seconds=1.0, cases=2, files=24, bundle=phantom_bundle)
    wanted = {"studies", "db_p95_ms", "db_kinds", "http_p95_ms", "http_saturated_p95_ms", "busy_slowdown"}
    wanted |= {"verdict_to_next_ms"} if "browser" in parts else set()
    assert wanted <= set(report)
    assert report["db_p95_ms"] > 0 and set(report["db_kinds"]) > {"open, highest score", "medium job"}
    worklist.show(report)
