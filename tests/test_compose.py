"""The compose file and the image, held against the code: no container engine is needed to find them out of step."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cxrscreen import programs, queue
from cxrscreen.cli import cli
from cxrscreen.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_every_role_of_the_stack_has_its_container() -> None:
    assert set(programs.ROLES) <= set(SERVICES)
    assert {"postgres", "migrate"} <= set(SERVICES)


@pytest.mark.parametrize("name", ["web", "ingest", "screen", "beat"])
def test_a_container_runs_what_the_embedded_stack_runs(name: str) -> None:
    """The same program with the same options; only paths, addresses and the number of processes may differ."""
    ours = programs.command(name, Settings(), "127.0.0.1:8470")
    theirs = OURS[name]["command"]
    free = {"-c", "--bind", "--concurrency", "--schedule"}

    def shape(command: list[str]) -> list[str]:
        words = command[2:] if command[1] == "-m" else command
        return ["*" if before in free else word for before, word in zip(["", *words], words, strict=False)]

    assert shape(theirs) == shape(ours)


def test_commands_name_what_exists() -> None:
    assert OURS["migrate"]["command"][:1] == ["cxrscreen"]
    group = cli.get_command(click.Context(cli), OURS["migrate"]["command"][1])
    command = group.commands[OURS["migrate"]["command"][2]]  # type: ignore[attr-defined]
    assert set(OURS["migrate"]["command"][3:]) <= {name for option in command.params for name in option.opts}
    web = OURS["web"]["command"]
    assert (ROOT / web[web.index("-c") + 1]).is_file()
    queues = {part for s in OURS.values() if "--queues" in s["command"] for part in _after(s, "--queues").split(",")}
    assert queues == set(queue.QUEUES.values())


def test_variables_are_settings() -> None:
    known = {f"CXRSCREEN_{name.upper()}" for name in Settings.model_fields}
    for service in OURS.values():
        assert set(service["environment"]) <= known


def test_ports_and_health_agree() -> None:
    web = SERVICES["web"]
    port = web["environment"]["CXRSCREEN_PORT"]
    assert _after(web, "--bind").endswith(f":{port}")
    assert web["ports"][0].endswith(f":{port}")
    assert f":{port}/healthz" in web["healthcheck"]["test"][-1]
    assert f"EXPOSE {port}" in (ROOT / "Dockerfile").read_text()
    for name in ("redis", "postgres"):
        assert SERVICES[name]["healthcheck"]


def test_what_is_waited_for_exists_and_is_healthy_some_day() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert SERVICES[name]["restart"] == "no"


def test_volumes_are_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = re.split(r":(?=/)", volume, maxsplit=1)[0]
            assert source.startswith(("$", ".", "/")) or source in COMPOSE["volumes"]


def test_a_broker_that_forgets_is_not_accepted() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_no_password_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for variable in re.findall(r"\$\{(\w*PASSWORD\w*)(.*?)\}", text):
        assert variable[1].startswith(":?"), variable


def test_a_container_has_the_rights_of_a_plain_user_and_is_reached_from_this_machine_only() -> None:
    for service in OURS.values():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER cxrscreen$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["web"]
    assert SERVICES["web"]["ports"][0].startswith("${CXRSCREEN_PUBLISH:-127.0.0.1:")


def test_the_image_copies_what_the_project_has() -> None:
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            copied |= set(shlex.split(line)[1:-1])
    for source in copied:
        assert (ROOT / source).exists(), source
    assert {"cxrscreen", "models", "worker", "dashboard", "migrations"} <= copied


def _after(service: dict[str, Any], option: str) -> str:
    command = service["command"]
    return str(command[command.index(option) + 1])


def test_programs_get_the_time_they_need_to_end() -> None:
    def seconds(name: str) -> int:
        return int(SERVICES[name]["stop_grace_period"].removesuffix("s"))

    conf = (ROOT / "dashboard" / "gunicorn.conf.py").read_text()
    assert seconds("web") > int(re.findall(r"^graceful_timeout = (\d+)$", conf, re.MULTILINE)[0])
    assert min(seconds("ingest"), seconds("screen")) > programs.STOP_SECONDS
    # As process 1 a worker that has no handler for SIGTERM yet would not hear of it.
    assert all(service["init"] for service in OURS.values())


def test_no_log_grows_without_end() -> None:
    for name, service in SERVICES.items():
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), name


def test_the_build_is_sent_what_the_image_copies_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert "*" in lines and sent == {name.split("/")[0] for line in copied for name in line.split()}
