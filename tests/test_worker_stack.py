"""The embedded stack with real processes: kills, repeats, an emptied broker, a second model version."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select
from stack_fixtures import PATIENCE_SECONDS, add_job, register, run_cli, wait_until_ended, write_pictures
from test_worker_features import changed

from cxrscreen import db, jobs, local, programs, queue, registry, worklist
from cxrscreen.imaging.reasons import Reason
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import (
    Batch,
    BatchState,
    Entry,
    EntryStatus,
    Image,
    JobKind,
    JobState,
    ModelState,
    ModelVersion,
    Rejection,
    Result,
    Worker,
)
from worker.runtime import SCREENING_NICE

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sixty pictures."""
    return write_pictures(tmp_path_factory.mktemp("night"), 60, side=256)


def pid_of(role: str) -> int:
    until = time.monotonic() + PATIENCE_SECONDS
    while (pid := local.read_pid(get_settings().run_dir.absolute(), role)) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    return pid


def results() -> dict[int, int]:
    """How many results each image has."""
    with db.read() as session:
        rows = session.execute(select(Image.id, func.count(Result.id)).outerjoin(Result).group_by(Image.id))
        return {row[0]: row[1] for row in rows}


def scored_at_least(count: int) -> Callable[[], bool]:
    def enough() -> bool:
        with db.read() as session:
            return (session.scalar(select(func.count()).select_from(Result)) or 0) >= count

    return enough


def wait(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)


def test_a_screening_worker_is_killed_in_the_middle(stack: local.Stack, night: Path) -> None:
    job = add_job(JobKind.FOLDER, night)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid_of("screen")) == ours + SCREENING_NICE, "no ingest process"
    killed = []
    for count in (4, 16, 28):
        wait(scored_at_least(count))
        killed.append(pid_of("screen"))
        os.kill(killed[-1], signal.SIGKILL)
        wait(lambda: pid_of("screen") not in killed)
    account = wait_until_ended(job.id)
    assert account == jobs.Account(scored=60)
    assert set(results().values()) == {1} and len(results()) == 60
    assert len(set(killed)) == 3


def test_every_process_is_killed_and_redis_is_emptied(stack: local.Stack, night: Path) -> None:
    job = add_job(JobKind.FOLDER, night)
    wait(scored_at_least(4))
    with redis.Redis.from_url(get_settings().broker) as client:
        client.flushall()
    for role in ("ingest", "web", "beat", "redis"):
        os.kill(pid_of(role), signal.SIGKILL)
    assert wait_until_ended(job.id) == jobs.Account(scored=60)
    assert set(results().values()) == {1}


def test_an_image_that_ends_its_worker_is_set_aside(
    configure: Callable[..., Settings], stacked: Settings, phantom_bundle: Path, night: Path
) -> None:
    deadly = night / "007.png"
    settings = configure(deadly_sha256=hashlib.sha256(deadly.read_bytes()).hexdigest())
    register(phantom_bundle)
    # It is deadly to the screening worker alone: the ingest has seen it before the hook was set.
    with _running(configure(deadly_sha256=""), ("redis", "ingest", "beat")):
        job = add_job(JobKind.FOLDER, night)
        wait(lambda: _listed(job.id))
    configure(deadly_sha256=settings.deadly_sha256)
    with _running(get_settings(), programs.WITHOUT_PAGES):
        account = wait_until_ended(job.id)
    assert account == jobs.Account(scored=59, failed=1, reasons={Reason.QUARANTINED: 1})
    with db.read() as session:
        name = session.scalar(select(Entry.name).join(Rejection, Rejection.entry_id == Entry.id))
    seen = screening_workers()
    assert name and name.endswith("007.png")
    # Each process writes its row before its first batch; the last of them lives.
    assert 3 <= seen - 1 <= math.log2(settings.batch_size) + 5


class _running:
    def __init__(self, settings: Settings, roles: tuple[str, ...]) -> None:
        self.stack = local.Stack(settings, roles, port=0)

    def __enter__(self) -> local.Stack:
        self.stack.start()
        self.stack.wait_ready()
        return self.stack

    def __exit__(self, *_: object) -> None:
        self.stack.stop()


def _listed(job_id: int) -> bool:
    with db.read() as session:
        return jobs.get(session, job_id).listed


def test_a_second_version_scores_the_archive_again(
    stack: local.Stack, night: Path, tmp_path: Path, phantom_archive: Path, phantom_bundle: Path
) -> None:
    for source in (night, phantom_archive):
        wait_until_ended(add_job(JobKind.FOLDER, source).id)
    active = select(ModelVersion).where(ModelVersion.state == ModelState.ACTIVE)
    with db.read() as session:
        (first,) = session.scalars(active)
    second = register(changed(phantom_bundle, tmp_path / "second", "backbone"), activate=False)
    with db.read() as session:
        assert [version.id for version in session.scalars(active)] == [first.id], (
            "a new version changes nothing by itself"
        )
    done = run_cli("models", "activate", second.name)
    assert done.returncode == 0, done.stderr
    with db.read() as session:
        assert [version.id for version in session.scalars(active)] == [second.id]
    done = run_cli("rescreen", "--out", str(tmp_path / "again.csv"))
    assert done.returncode == 0, done.stderr
    with db.read() as session:
        refused = session.execute(
            select(Rejection.image_id, func.count(func.distinct(Rejection.model_version_id)))
            .where(Rejection.reason == Reason.UNLIKE_TRAINING)
            .group_by(Rejection.image_id)
        )
        answers = results()
        for image_id, count in refused:
            answers[image_id] += count
    assert set(answers.values()) == {2}, "each image has one answer of each version"
    with db.read() as session:
        limit = registry.threshold(session, second.id)
        lines = worklist.page(session, second.id, limit, worklist.Filters(state="all"), limit=500)
        assert lines and {line.result.model_version_id for line in lines} == {second.id}
        assert [line.result.score for line in lines] == sorted((line.result.score for line in lines), reverse=True)
    assert len((tmp_path / "again.csv").read_text().splitlines()) == 1 + len(results())
    once_more = run_cli("rescreen", "--json")
    assert '"found": 0' in once_more.stdout, "nothing is left to score"


@pytest.fixture
def long_leases(stacked: Settings, configure: Callable[..., Settings]) -> None:
    """For a stack in which nobody dies: a worker that hardly gets a processor keeps what it has in hand."""
    configure(lease_seconds=60)


def in_hand(job_id: int) -> bool:
    """Whether a worker reads the job, or a batch of it."""
    with db.read() as session:
        leased = select(func.count()).where(Batch.job_id == job_id, Batch.state == BatchState.LEASED)
        return jobs.get(session, job_id).lease_until is not None or bool(session.scalar(leased))


@pytest.mark.usefixtures("long_leases")
def test_a_pause_a_plain_sigterm_and_a_cancel_while_it_runs(stack: local.Stack, night: Path) -> None:
    with db.write() as session:
        sources = [{"path": str(night), "label": night.name}]
        job = jobs.create(session, JobKind.FOLDER, "a test", registry.need_active(session).id, sources=sources)
        job.rate = 600  # a minute, so that there is something left to pause
    queue.submit(queue.INGEST, job.id)
    wait(scored_at_least(4))
    with db.write() as session:
        jobs.pause(session, job.id, "a test")
    wait(lambda: not in_hand(job.id))
    with db.read() as session:
        held = jobs.account(session, job.id)
    assert held.scored < 60
    time.sleep(1.5)
    with db.read() as session:
        assert jobs.account(session, job.id) == held
    with db.write() as session:
        jobs.resume(session, job.id, "a test")
        row = jobs.get(session, job.id)
        row.rate = row.held_until = None
    queue.submit(queue.INGEST, job.id)
    wait(scored_at_least(held.scored + 1))
    before = pid_of("screen")
    os.kill(before, signal.SIGTERM)
    assert wait_until_ended(job.id) == jobs.Account(scored=60)
    wait(lambda: pid_of("screen") != before and screening_workers() == 2)
    with db.read() as session:
        assert session.scalar(select(func.max(Entry.attempts))) == 1, "the batch in hand was ended, not begun again"
    with db.write() as session:
        version = registry.need_active(session)
        again = jobs.create(session, JobKind.RESCREEN, "again", version.id)
        jobs.cancel(session, again.id, "a test")
    with db.read() as session:
        assert jobs.get(session, again.id).state == JobState.CANCELLED


def screening_workers() -> int:
    """How many there were, the dead among them."""
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(Worker).where(Worker.role == "screen")) or 0


@pytest.fixture
def lone_stack(stacked: Settings, phantom_bundle: Path) -> Iterator[local.Stack]:
    register(phantom_bundle)
    running = local.Stack(stacked, ("redis", "screen", "beat"))
    running.start()
    running.wait_ready()
    yield running
    running.stop()


def test_a_killed_supervisor_takes_its_programs_along(lone_stack: local.Stack) -> None:
    pids = [pid_of(role) for role in lone_stack.roles]
    assert lone_stack._process is not None
    os.kill(lone_stack._process.pid, signal.SIGKILL)

    def gone() -> bool:
        return not any(local._runs_ours(pid) for pid in pids)

    wait(gone)


def test_status_words_cover_what_entries_can_be() -> None:
    assert {status.value for status in EntryStatus} == set(jobs.Account.__dataclass_fields__) - {"reasons"}


@pytest.fixture
def redis_elsewhere(tmp_path: Path) -> Iterator[str]:
    """A Redis that is not the stack's own."""
    port = local.free_port("127.0.0.1")
    command = [
        programs.redis_server(),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    with redis.Redis.from_url(url) as client:

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait(answers)
    yield url
    server.kill()
    server.wait()


def test_three_urls_are_all_that_a_stack_needs_elsewhere(
    configure: Callable[..., Settings],
    empty_postgres: str,
    redis_elsewhere: str,
    tmp_path: Path,
    night: Path,
    phantom_bundle: Path,
) -> None:
    settings = configure(
        database_url=empty_postgres,
        redis_url=redis_elsewhere,
        store_url=f"file://{tmp_path / 'elsewhere'}",
        lease_seconds=4,
        sweep_seconds=1,
        batch_size=8,
        ingest_processes=1,
    )
    refused = run_cli("screen", str(night), "--model", str(phantom_bundle))
    assert refused.returncode == 2 and "cxrscreen db upgrade" in refused.stderr
    assert run_cli("db", "upgrade").returncode == 0
    register(phantom_bundle)
    with _running(settings, programs.ROLES) as stack:
        assert "redis" not in stack.roles
        job = add_job(JobKind.FOLDER, night)
        wait(scored_at_least(8))
        os.kill(pid_of("screen"), signal.SIGKILL)
        os.kill(pid_of("ingest"), signal.SIGKILL)
        assert wait_until_ended(job.id) == jobs.Account(scored=60)
    assert set(results().values()) == {1}
    assert not (settings.data_dir / "cxrscreen.db").exists() and not (settings.data_dir / "store").exists()
    assert (tmp_path / "elsewhere" / "derivatives").is_dir()
