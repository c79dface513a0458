"""The bench of kills in small."""

from __future__ import annotations

import pytest

from bench import kills


@pytest.mark.stack
def test_an_ingest_that_is_killed_loses_nothing() -> None:
    report = kills.run(3, seed=2, members_a_kill=12)
    assert {way: told["wrong"] for way, told in report.items()} == {"unpack": {}, "write": {}}
    assert all(told["kills"] > 0 for told in report.values())
