"""The front door: what is asked for without doing anything is answered before the libraries below are imported."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from cxrscreen import schedules
from cxrscreen.cli import PLACES, cli, manage
from cxrscreen.cli import schedules as schedules_cli
from cxrscreen.tables import Role

HEAVY = ("sqlalchemy", "celery", "torch", "pydicom", "pyarrow", "flask", "numpy", "pydantic")
LOOK = (
    "import sys\nfrom cxrscreen.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
)


def modules_after(*arguments: str, **env: str) -> tuple[str, set[str]]:
    """What a command prints, and what was imported by then."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments], capture_output=True, text=True, env={**os.environ, **env}
    )
    return done.stdout, set(done.stderr.splitlines()[-1].split())


def test_the_list_says_of_each_command_what_its_own_help_begins_with() -> None:
    context = click.Context(cli)
    assert cli.list_commands(context) == sorted(PLACES)
    for name, place in PLACES.items():
        command = cli.get_command(context, name)
        assert command is not None and command.name == name
        assert command.help is not None and command.help.splitlines()[0] == place.line


def test_choices_are_those_of_the_tables() -> None:
    assert [*manage.ROLES.choices] == [role.value for role in Role]
    assert tuple(schedules_cli.ONLY.choices) == schedules.ONLY


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["screen", "--help"], ["users", "add", "--help"], ["train", "--help"], ["jbos"]]
    + [[name, "--help"] for name in ("archive", "db", "demo", "doctor", "evaluate", "schedules", "study")],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    _, imported = modules_after(*arguments)
    assert "click" in imported and not imported & set(HEAVY)


def test_a_shell_completes_commands_and_options() -> None:
    def offered(words: str) -> set[str]:
        asked = {"_CXRSCREEN_COMPLETE": "bash_complete", "COMP_WORDS": f"cxrscreen {words}", "COMP_CWORD": "1"}
        asked["COMP_CWORD"] = str(len(words.split(" ")))
        said, imported = modules_after(**asked)
        assert not imported & set(HEAVY)
        return {line.partition(",")[2] for line in said.splitlines()}

    assert offered("sc") == {"schedules", "screen"}
    assert {"--model", "--out", "--json"} <= offered("screen --")
    assert offered("users add x --role ad") == {"admin"}
