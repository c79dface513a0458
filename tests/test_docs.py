"""The documents say what the code does: every setting, command and link, and no path of anybody's machine."""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest

from cxrscreen.cli import cli
from cxrscreen.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md")])


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `(CXRSCREEN_\w+)` \| (.*)$", text, re.MULTILINE))
    assert set(rows) == {f"CXRSCREEN_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        row = rows[f"CXRSCREEN_{name.upper()}"]
        assert field.description and field.description in row
        assert field.default in ("", ()) or row.startswith(f"`{field.default}`")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def test_commands_in_documents_exist() -> None:
    known = {path[0]: command for path, command in commands(cli) if len(path) == 1}
    seen = 0
    for document in DOCUMENTS:
        said = re.findall(r"(?:^|`)\s*cxrscreen (\w+)(?: (\w[\w-]*))?", document.read_text(), re.MULTILINE)
        for word, second in said:
            seen += 1
            assert word in known, f"{document.name}: cxrscreen {word}"
            command = known[word]
            if isinstance(command, click.Group) and second:
                assert second in command.commands, f"{document.name}: cxrscreen {word} {second}"
    assert seen > 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http", "mailto")):
            assert (document.parent / target).exists(), f"{document.name} -> {target}"


def test_every_module_of_the_classifier_runs_bundles_or_learns() -> None:
    """The contract between the two halves of `models/` forgets none."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    halves = next(one for one in contracts if one["name"].startswith("What runs a bundle"))
    listed = [name for half in ("source_modules", "forbidden_modules") for name in halves[half]]
    rooms = {f"models.{path.stem}" for path in (ROOT / "models").glob("*.py") if path.stem != "__init__"}
    rooms |= {f"models.{path.parent.name}" for path in (ROOT / "models").glob("*/__init__.py")}
    assert sorted(name for name in listed if name.startswith("models.")) == sorted(rooms)


def tracked(*suffixes: str) -> list[Path]:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [path for path in map(ROOT.joinpath, filter(None, files)) if path.suffix in suffixes and path.is_file()]


def test_files_and_names_in_documents_exist() -> None:
    """A file by its path or the end of it, stars and all; of a dotted name the module, and the rest in its text."""
    files = [path.relative_to(ROOT).as_posix() for path in tracked(".py", ".js", ".html", ".md", ".yml", ".toml")]
    seen = 0
    for document in DOCUMENTS:
        for said in re.findall(r"`([^`\n]+)`", document.read_text()):
            if re.fullmatch(r"[\w/*-]+\.(py|js|html|md|yml|toml)", said) and "NNNN" not in said:
                seen += 1
                assert any(fnmatch(f"/{file}", f"*/{said}") for file in files), f"{document.name}: {said}"
            if dotted := re.fullmatch(r"((?:cxrscreen|models|worker|dashboard)(?:\.[a-z_]+)+)\.(\w+)", said):
                module = dotted[1].replace(".", "/")
                texts = [
                    (ROOT / file).read_text() for file in (f"{module}.py", f"{module}/__init__.py") if file in files
                ]
                inside = f"{module}/{dotted[2]}.py" in files or any(dotted[2] in text for text in texts)
                assert inside, f"{document.name}: {said}"
    assert seen > 50


def test_every_decision_that_is_named_was_written_down() -> None:
    written = {int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("*.md")}
    for path in tracked(".md", ".py", ".html", ".toml"):
        named = {int(number) for number in re.findall(r"decisions?[ /](\d+)", path.read_text())}
        assert named <= written, f"{path.name}: {named - written}"


def test_no_file_names_a_path_of_a_machine_or_a_registry() -> None:
    forbidden = re.compile("/(?:root|home)/|" + r"pypi\.org/simple|files\.python" + "hosted|registry\\.npm" + "js")
    for path in tracked(".md", ".py", ".toml", ".txt", ".yml", ".html", ".css", ".js", ""):
        assert not forbidden.search(path.read_text(errors="ignore")), path
