"""Schedules and roll-backs from the command line; what would never work is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stack_fixtures import Done, register

from cxrscreen.settings import Settings

pytestmark = pytest.mark.stack


def refused(done: Done, status: int, words: str) -> None:
    assert done.returncode == status and words in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_schedules_by_hand(stacked: Settings, cli_here: Callable[..., Done], phantom_bundle: Path) -> None:
    register(phantom_bundle)
    done = cli_here("schedules", "add", "Shadow", "--cron", "0 22 * * *", "--timezone", "Europe/Berlin", "--rate", "60")
    assert done.returncode == 0 and done.stdout.count("22:00 CE") == 3, done.stderr
    refused(cli_here("schedules", "add", "Shadow"), 1, "already a schedule")
    refused(cli_here("schedules", "edit", "Shadow", "--window", "22:00-22:00"), 2, "has no length")
    refused(cli_here("schedules", "edit", "Shadow", "--cron", "0 22 31 2 *"), 2, "never fires")
    refused(cli_here("schedules", "edit", "Shadow", "--folder", "/nowhere"), 2, "does not exist")
    assert cli_here("schedules", "edit", "Shadow", "--window", "21:00-06:00", "--model", "candidate").returncode == 0
    refused(cli_here("schedules", "run", "Shadow"), 2, "no candidate")
    assert cli_here("schedules", "edit", "Shadow", "--model", "active", "--window", "none").returncode == 0
    done = cli_here("schedules", "list", "--json")
    told = json.loads(done.stdout)
    mine = next(row for row in told["schedules"] if row["name"] == "Shadow")
    assert (mine["cron"], mine["window"], mine["model"], mine["rate"]) == ("0 22 * * *", None, "active", 60)
    assert [night["state"] for night in told["nights"]] == ["failed"]
    refused(cli_here("schedules", "remove", "nobody"), 2, "no schedule")
    assert cli_here("schedules", "remove", "Shadow").returncode == 0
    refused(cli_here("models", "rollback"), 1, "no version to roll back to")
