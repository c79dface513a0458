"""Schedules and roll-backs from the command line; what would never work is refused in one line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from stack_fixtures import register, run_cli

from cxrscreen.settings import Settings

pytestmark = pytest.mark.stack


def refused(done: subprocess.CompletedProcess[str], status: int, words: str) -> None:
    assert done.returncode == status and words in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_schedules_by_hand(stacked: Settings, phantom_bundle: Path) -> None:
    register(phantom_bundle)
    done = run_cli("schedules", "add", "Shadow", "--cron", "0 22 * * *", "--timezone", "Europe/Berlin", "--rate", "60")
    assert done.returncode == 0 and done.stdout.count("22:00 CE") == 3, done.stderr
    refused(run_cli("schedules", "add", "Shadow"), 1, "already a schedule")
    refused(run_cli("schedules", "edit", "Shadow", "--window", "22:00-22:00"), 2, "has no length")
    refused(run_cli("schedules", "edit", "Shadow", "--cron", "0 22 31 2 *"), 2, "never fires")
    refused(run_cli("schedules", "edit", "Shadow", "--folder", "/nowhere"), 2, "does not exist")
    assert run_cli("schedules", "edit", "Shadow", "--window", "21:00-06:00", "--model", "candidate").returncode == 0
    refused(run_cli("schedules", "run", "Shadow"), 2, "no candidate")
    assert run_cli("schedules", "edit", "Shadow", "--model", "active", "--window", "none").returncode == 0
    done = run_cli("schedules", "list", "--json")
    told = json.loads(done.stdout)
    mine = next(row for row in told["schedules"] if row["name"] == "Shadow")
    assert (mine["cron"], mine["window"], mine["model"], mine["rate"]) == ("0 22 * * *", None, "active", 60)
    assert [night["state"] for night in told["nights"]] == ["failed"]
    refused(run_cli("schedules", "remove", "nobody"), 2, "no schedule")
    assert run_cli("schedules", "remove", "Shadow").returncode == 0
    refused(run_cli("models", "rollback"), 1, "no version to roll back to")
