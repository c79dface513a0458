"""Files that were changed at random: each ends as pictures or with a reason, soon, in bounded memory.

A short run of `python -m bench.fuzz`, in this process; the long one is told of in docs/ingest.md.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import fuzz, fuzz_seeds
from bench.fuzz_child import end_of_file, end_of_picture, least_entries
from bench.fuzz_mutations import mutated
from cxrscreen.imaging import walk

# Imported here, the filters that keep the decoders' warnings from the terminal are undone by pytest.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

OF_EACH = 25


def longest(began: float) -> float:
    """Seconds that a damaged file may take, once a whole one took those since `began`: many times that, on a machine so
    busy that it is more than what a hang is elsewhere."""
    return max(fuzz.HANG_SECONDS, 30 * (time.monotonic() - began))


@pytest.mark.parametrize("kind", fuzz_seeds.PICTURES)
def test_mutated_files_end_as_pictures_or_with_a_reason(kind: str) -> None:
    original = fuzz_seeds.PICTURES[kind]()
    began = time.monotonic()
    assert end_of_picture(original) == "read"
    most = longest(began)
    ends: Counter[str] = Counter()
    for seed in range(OF_EACH):
        data = mutated(original, random.Random(f"{kind} {seed}"), fuzz_seeds.dicom())
        began = time.monotonic()
        ends[end_of_picture(data)] += 1
        assert time.monotonic() - began < most, f"seed {seed}"
    assert ends.total() == OF_EACH


@pytest.mark.parametrize("kind", fuzz_seeds.ARCHIVES)
def test_mutated_archives_lose_nothing_silently(kind: str, tmp_path: Path) -> None:
    original = fuzz_seeds.ARCHIVES[kind]()
    path = tmp_path / "x"
    path.write_bytes(original)
    began = time.monotonic()
    whole = sum(1 for _ in walk(path, "x"))
    most = longest(began)
    for seed in range(OF_EACH):
        data = mutated(original, random.Random(f"{kind} {seed}"), fuzz_seeds.dicom())
        began = time.monotonic()
        assert end_of_file(path, data, least_entries(kind, data, whole))
        assert time.monotonic() - began < most, f"seed {seed}"


def test_a_reader_that_dies_or_hangs_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz, "HANG_SECONDS", 120.0)  # which file takes long is said below, not by a busy machine
    report = fuzz.run(seed=1, files=12, workers=1, data=None)
    assert report.files == 12 and not report.findings and sum(report.ends.values()) == 12

    give, hear = fuzz.Child.give, fuzz.Child.hear
    heard: list[int] = []

    def kill_at_three(child: fuzz.Child) -> bool:
        given = give(child)
        if child.now == 3:
            child.process.kill()
        return given

    def slow(child: fuzz.Child) -> dict[str, Any] | None:
        """At 4 once, at 5 each time."""
        told = hear(child)
        if told and "number" in told:
            heard.append(told["number"])
            if told["number"] == 5 or (heard.count(4) == 1 and told["number"] == 4):
                told["seconds"] = fuzz.HANG_SECONDS + 1
        return told

    monkeypatch.setattr(fuzz.Child, "give", kill_at_three)
    monkeypatch.setattr(fuzz.Child, "hear", slow)
    report = fuzz.run(seed=1, files=6, workers=1, data=None)
    assert report.files == 6
    assert heard == [0, 1, 2, 4, 5, 4, 5]
    assert [(one["number"], one["trouble"].split(":")[0]) for one in report.findings] == [(3, "crash"), (5, "hang")]
    fuzz.show(report)
    assert "2 findings" in capsys.readouterr().out
