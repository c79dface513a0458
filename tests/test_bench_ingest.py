"""The bench of ingest in small: two archives through the dashboard into stacks of their own."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from bench import ingest, ingest_archives

pytestmark = pytest.mark.stack


def test_an_archive_is_taken_in_and_measured(bare_environment: None) -> None:
    report = ingest.run(["small"], small_members=60, large_bytes=0, base_bytes=4e5)
    ingest.show(report)
    assert {"peak_ratio", "web_peak_mb", "ingest_peak_mb", "mb_per_s"} <= set(report)
    assert [one["members"] for one in report["archives"]][1] == 60
    assert 50 < report["ingest_peak_mb"] < 400 and 50 < report["web_peak_mb"] < 400


def test_the_large_members_are_as_large_as_asked(tmp_path: Path) -> None:
    assert ingest_archives.write_tar(tmp_path / "x.tar", size=9e6) == 2
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert [member.size > 8 << 20 for member in archive] == [True, True]
