"""The bench of kills in small."""

from __future__ import annotations

import pytest

from bench import kills


@pytest.mark.stack
def test_an_ingest_that_is_killed_loses_nothing() -> None:
    report = kills.run(3, seed=2, members_a_kill=40)
    assert set(report) == set(kills.WAYS)
    assert [told["wrong"] for told in report.values()] == [{}] * len(kills.WAYS)
    assert all(told["kills"] > 0 for told in report.values())
