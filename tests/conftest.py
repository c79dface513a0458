"""Fixtures that more than one room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real X-rays and DICOM files, which is never part of the project."""
    folder = Path(os.environ.get("CXRSCREEN_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "README.md").exists():
        pytest.skip(f"no real data at {folder}: set CXRSCREEN_TEST_DATA to try this")
    return folder
