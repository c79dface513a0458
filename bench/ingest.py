"""Memory and pace of ingest: an archive of 50,000 small members, one of 6 GB, and one of 50 MB of each kind.

    python -m bench.ingest [--quick] [--only small|large] [--json FILE]

Each archive is made on the spot and sent, in pieces by the tus protocol, to the dashboard of an embedded stack of its
own, which has no screening worker; it is taken in when its job lists every file. The peaks are those of the kernel
(VmHWM) of the largest process of each role. Beside the pace of ingest stand, in the same run, a test of the same
archive by `unzip -t` or `tar -t` (which reads it through a pipe, so that it cannot skip), and the decode bound: the
same members, prepared on all cores with no archive, database or store.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench import ingest_archives
from bench.fault_rig import children, forget, peak_kb
from cxrscreen import blobs, db, local, registry, schema, users
from cxrscreen.imaging import prepare
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, Job, Role

# Nothing is screened, but a job names a model version.
SHIPPED = min((Path(__file__).resolve().parent.parent / "models" / "bundles").iterdir())
NAME, PASSWORD = "bench", "a night of uploads"
BASE_BYTES = 50e6
PIECE = 16 << 20
TELL_SECONDS = 10.0
SAMPLE = {"small": 600, "large": 24}
QUIET = {
    # Nothing screens here, so batches pile up.
    "WAITING_BATCHES": "1000000",
    "MAX_UPLOAD_GB": "50",
    "SWEEP_SECONDS": "600",
    # What is in memory at a time grows with the threads that read; the figures are those of a small machine.
    "DECODE_THREADS": "2",
}


@dataclass
class Taken:
    """What one archive cost."""

    kind: str
    members: int
    mb: float
    upload_seconds: float
    ingest_seconds: float
    mb_per_s: float
    test_mb_per_s: float
    decode_mb_per_s: float
    web_peak_mb: int
    ingest_peak_mb: int


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.ingest")
    options.add_argument("--quick", action="store_true", help="a tenth of the sizes, under five minutes")
    options.add_argument("--only", choices=("small", "large"))
    options.add_argument("--json", type=Path, metavar="FILE")
    told = options.parse_args()
    share = 10 if told.quick else 1
    kinds = [told.only] if told.only else ["small", "large"]
    report = run(kinds, small_members=50_000 // share, large_bytes=6e9 / share, base_bytes=BASE_BYTES)
    show(report)
    if told.json:
        told.json.write_text(json.dumps(report, indent=2) + "\n")


def run(kinds: list[str], *, small_members: int, large_bytes: float, base_bytes: float) -> dict[str, Any]:
    """Each kind at both sizes, the small size first; the keys of the report are told of in docs/ingest.md."""
    taken: list[Taken] = []
    ratios = []
    for kind in kinds:
        base = _take(kind, size=base_bytes)
        full = _take(kind, members=small_members) if kind == "small" else _take(kind, size=large_bytes)
        ratios += [full.web_peak_mb / base.web_peak_mb, full.ingest_peak_mb / base.ingest_peak_mb]
        taken += [base, full]
    return {
        "peak_ratio": round(max(ratios), 3),
        "web_peak_mb": max(one.web_peak_mb for one in taken),
        "ingest_peak_mb": max(one.ingest_peak_mb for one in taken),
        "mb_per_s": taken[-1].mb_per_s,
        "archives": [asdict(one) for one in taken],
    }


def _take(kind: str, *, members: int | None = None, size: float = 0) -> Taken:
    with tempfile.TemporaryDirectory(prefix="cxrscreen-bench-") as name:
        room = Path(name)
        archive = room / ("small.zip" if kind == "small" else "large.tar")
        write = ingest_archives.write_zip if kind == "small" else ingest_archives.write_tar
        _say(f"{archive.name}: " + (f"{members:,} members" if members else f"{size / 1e6:,.0f} MB"))
        count = write(archive, members=members, size=size)
        mb = archive.stat().st_size / 1e6
        test = _seconds(lambda: _test(archive))
        decoded = _decode_bound(kind, min(count, SAMPLE[kind]))
        with _Stack(room / "data") as stack:
            began = time.perf_counter()
            _say("  sent to the dashboard")
            job = stack.upload(archive)
            upload = time.perf_counter() - began
            stack.wait_listed(job, count)
            ingest = time.perf_counter() - began - upload
            peaks = {role: stack.peak_mb(role) for role in ("web", "ingest")}
        return Taken(
            kind=kind,
            members=count,
            mb=round(mb, 1),
            upload_seconds=round(upload, 1),
            ingest_seconds=round(ingest, 1),
            mb_per_s=round(mb / ingest, 1),
            test_mb_per_s=round(mb / test, 1),
            decode_mb_per_s=round(decoded, 1),
            web_peak_mb=peaks["web"],
            ingest_peak_mb=peaks["ingest"],
        )


class _Stack:
    """Redis, the dashboard and the ingest workers, over an empty database and store."""

    def __init__(self, room: Path) -> None:
        for key in [key for key in os.environ if key.startswith("CXRSCREEN_") and "TEST_DATA" not in key]:
            del os.environ[key]
        os.environ |= {f"CXRSCREEN_{key}": value for key, value in QUIET.items()} | {"CXRSCREEN_DATA_DIR": str(room)}
        forget()
        schema.upgrade(db.get_engine())
        with db.write() as session:
            registry.activate(session, registry.register(session, blobs.store(), SHIPPED), "bench")
            users.set_password(users.add(session, NAME, Role.OPERATOR), PASSWORD)
        self.stack = local.Stack(get_settings(), ("redis", "web", "ingest"), port=0)

    def __enter__(self) -> _Stack:
        self.stack.start()
        try:
            self.stack.wait_ready()
        except BaseException:
            self.stack.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop()
        db.get_engine().dispose()

    def upload(self, archive: Path) -> int:
        """Send a file in pieces by tus 1.0.0; answers its job."""
        with httpx.Client(base_url=self.stack.address, timeout=300) as client, archive.open("rb") as file:
            client.post("/sign-in", data={"csrf_token": _token(client, "/sign-in"), "name": NAME, "password": PASSWORD})
            client.headers.update({"X-CSRFToken": _token(client, "/account"), "Tus-Resumable": "1.0.0"})
            size = archive.stat().st_size
            name = "filename " + "YXJjaGl2ZQ=="
            made = client.post("/uploads/tus", headers={"Upload-Length": str(size), "Upload-Metadata": name})
            made.raise_for_status()
            offset, sent = 0, made
            while piece := file.read(PIECE):
                told = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
                sent = client.patch(made.headers["location"], content=piece, headers=told)
                sent.raise_for_status()
                offset += len(piece)
        return int(sent.headers["cxrscreen-job"].rsplit("/", 1)[-1])

    def wait_listed(self, job: int, members: int) -> None:
        told = time.monotonic()
        while True:
            with db.read() as session:
                row = session.get_one(Job, job)
                if row.listed:
                    found = _accepted(session, job)
                    assert not row.error and found == members, (
                        f"{found} of {members} members were accepted; {row.error}"
                    )
                    return
                if time.monotonic() - told > TELL_SECONDS:
                    told = time.monotonic()
                    _say(f"  {_accepted(session, job):,} of {members:,} members taken in")
            time.sleep(0.1)

    def peak_mb(self, role: str) -> int:
        """The most memory that any process of a role has held."""
        parent = local.read_pid(self.stack.run, role)
        assert parent is not None
        return max(peak_kb(pid) for pid in (parent, *children(parent))) // 1024


def _accepted(session: Session, job: int) -> int:
    query = select(func.count()).select_from(Entry).where(Entry.job_id == job, Entry.image_id.is_not(None))
    return session.scalar(query) or 0


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _token(client: httpx.Client, page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get(page).text)
    assert found, f"{page} has no token"
    return found[1]


def _test(archive: Path) -> None:
    if archive.suffix == ".zip":
        subprocess.run(["unzip", "-tqq", archive], check=True)
        return
    with archive.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        subprocess.run(["tar", "-tf", "-"], stdin=cat.stdout, stdout=subprocess.DEVNULL, check=True)


def _decode_bound(kind: str, count: int) -> float:
    """MB of members a second that all cores can prepare, nothing else done."""
    make = ingest_archives.small if kind == "small" else ingest_archives.large
    files = [make(number) for number in range(count)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda data: list(prepare(data)), files[:4]))  # the decoders are loaded
        taken = _seconds(lambda: list(pool.map(lambda data: list(prepare(data)), files)))
    return sum(map(len, files)) / 1e6 / taken


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


COLUMNS = {
    "kind": "kind",
    "members": "members",
    "mb": "MB",
    "upload_seconds": "upload s",
    "ingest_seconds": "ingest s",
    "mb_per_s": "MB/s",
    "test_mb_per_s": "-t MB/s",
    "decode_mb_per_s": "bound MB/s",
    "web_peak_mb": "web MB",
    "ingest_peak_mb": "ingest MB",
}


def show(report: dict[str, Any]) -> None:
    table = Table(*COLUMNS.values(), box=None)
    for one in report["archives"]:
        table.add_row(*(str(one[name]) for name in COLUMNS))
    console = Console(width=110)
    console.print(table)
    console.print(f"Peak of the larger beside the smaller: at most {report['peak_ratio']} times.")


if __name__ == "__main__":
    main()
