"""bench.gpu on a processor: every way runs on two small sets of files, and what fails costs the others nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from bench import gpu_files, gpu_run
from cxrscreen.imaging import decode


def test_the_ways_of_reading_agree(tmp_path: Path) -> None:
    originals = gpu_files.write_originals(tmp_path / "originals", 2, 2)
    derivatives = gpu_files.write_derivatives(tmp_path / "derivatives", originals, 4, 2)
    assert len({path.read_bytes() for path in originals}) == 2 and len(derivatives) == 4
    assert decode(derivatives[0].read_bytes()).shape == (512, 512)
    by_derivative = gpu_files.read(("derivative", str(derivatives[0]), 64, 0.0))
    assert isinstance(by_derivative, np.ndarray)
    np.testing.assert_array_equal(by_derivative, gpu_files.read(("original", str(originals[0]), 64, 0.0)))
    short = gpu_files.read(("short", str(originals[0]), 64, 0.0))
    assert isinstance(short, np.ndarray)
    assert np.abs(short.astype(int) - by_derivative).mean() < 3
    assert gpu_files.read(("decode", str(originals[0]), 64, 0.0)) == "decoded"


def test_a_way_that_fails_or_comes_too_late_is_named(tmp_path: Path) -> None:
    told = argparse.Namespace(seconds=1000.0, quick=True, device="cpu", bundle=tmp_path, other="resnet18", json=None)
    run = gpu_run.Run(tmp_path, told)

    def broken() -> None:
        raise RuntimeError("no such thing")

    run.part("one", broken)
    run.part("two", lambda: run.note("b threads 1", 5.0))
    run.note("c decode bound threads 1", 10.0)
    run.note("c processes 1", 8.0)
    run.end = 0
    run.part("three", broken)
    run.ratios()
    assert run.report["left_out"] == ["one: RuntimeError: no such thing", "three: no time"]
    assert run.report["ratios"] == {"c_to_bound": 0.8}
    assert pytest.approx(run.rates["b threads 1"]) == 5.0
