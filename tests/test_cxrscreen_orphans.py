"""Blobs without a row: the young stay, the old go, and whoever stores the same bytes meanwhile loses nothing."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import seed
from click.testing import CliRunner
from sqlalchemy import select, update
from stack_fixtures import register
from steps import entries_of, job_over, png

from cxrscreen import belonging, blobs, db, orphans
from cxrscreen.cli import cli
from cxrscreen.settings import Settings
from cxrscreen.tables import Condemned, EntryStatus, Image, StoreMark, now
from worker import ingest, intake, tidy

OLD = timedelta(days=3)


def put(data: bytes, kind: str = "originals", *, old: bool = True) -> str:
    """A blob that no row names."""
    key = blobs.store().put(kind, data)
    if old:
        age(Path(blobs.store().path(kind, key)))
    return key


def age(path: Path) -> None:
    long_ago = time.time() - OLD.total_seconds()
    os.utime(path, (long_ago, long_ago))


def search() -> int:
    store = blobs.store()
    return sum(orphans.search(store, kind, shelf) for kind in orphans.NAMED for shelf in blobs.SHELVES)


def let_time_pass() -> None:
    """What is condemned was so long ago, and what is stored longer."""
    for path in Path(blobs.store().root).rglob("*"):
        if path.is_file():
            long_ago = time.time() - 4 * OLD.total_seconds()
            os.utime(path, (long_ago, long_ago))
    with db.write() as session:
        session.execute(update(Condemned).values(found_at=now() - OLD))


def there(kind: str, key: str) -> bool:
    return blobs.store().exists(kind, key)


def test_only_what_is_old_and_has_no_row_goes_and_not_at_once(database: Settings) -> None:
    with db.write() as session:
        image = seed.images(session, 1)[0]
        image.sha256, image.derivative = put(b"named"), put(b"small", "derivatives")
    young, old = put(b"young", old=False), put(b"old")
    small = put(b"old and small", "derivatives")
    half = Path(blobs.store().path("originals", old)).with_name("." + old[:16] + ".0badcafe")
    fresh_half = half.with_name("." + old[:16] + ".1badcafe")
    half.touch()
    fresh_half.touch()
    age(half)
    assert search() == 2 and search() == 0
    assert not half.exists() and fresh_half.exists()
    assert orphans.remove(blobs.store()) == 0, "the pause is not over"
    let_time_pass()
    assert orphans.remove(blobs.store()) == 2 and orphans.remove(blobs.store()) == 0
    assert not there("originals", old) and not there("derivatives", small)
    assert there("originals", young) and there("originals", image.sha256) and there("derivatives", image.derivative)


def test_a_row_that_came_meanwhile_saves_the_blob(database: Settings) -> None:
    pardoned, named = put(b"pardoned"), put(b"named")
    assert search() == 2
    let_time_pass()
    with db.write() as session:
        orphans.pardon(session, [("originals", pardoned)], db.clock(session))
        # This one's row comes from where nothing is asked for.
        seed.images(session, 1)[0].sha256 = named
    assert orphans.remove(blobs.store()) == 0
    assert there("originals", pardoned) and there("originals", named)
    with db.read() as session:
        assert session.scalars(select(Condemned)).all() == []


def test_a_blob_that_goes_is_not_trusted(database: Settings) -> None:
    key = hashlib.sha256(b"x").hexdigest()

    def pardon(since: timedelta = timedelta()) -> None:
        with db.write() as session:
            orphans.pardon(session, [("originals", key), ("derivatives", key)], now() + since)

    with db.write() as session:
        orphans.condemn(session, "originals", [key])
        session.execute(update(Condemned).values(going_at=now()))
    with pytest.raises(orphans.BlobGone):
        pardon()
    with db.write() as session:
        session.execute(update(Condemned).values(gone_at=now()))
    with pytest.raises(orphans.BlobGone):
        pardon(since=timedelta(seconds=-5))
    pardon(since=timedelta(seconds=5))  # stored after it was gone
    pardon()


def test_a_removal_whose_sweep_died_is_done_by_another_later(database: Settings) -> None:
    key = put(b"half gone")
    with db.write() as session:
        orphans.condemn(session, "originals", [key])
    let_time_pass()
    with db.write() as session:
        session.execute(update(Condemned).values(going_at=now()))
    assert orphans.remove(blobs.store()) == 0, "the other one may be at it"
    with db.write() as session:
        session.execute(update(Condemned).values(going_at=now() - OLD))
    assert orphans.remove(blobs.store()) == 1 and not there("originals", key)


def test_the_same_bytes_come_in_while_they_are_swept(
    database: Settings,
    phantom_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configure: Callable[..., Settings],
) -> None:
    configure(copy_folder_files=True)
    model = register(phantom_bundle).id
    monkeypatch.setattr(ingest, "PAUSE_SECONDS", 0.0)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.png").write_bytes(png(1))
    key = put(png(1))
    assert search() == 1
    let_time_pass()
    job_id = job_over(tmp_path / "f", model)
    commit = intake.Slice.commit
    swept: list[int] = []

    def swept_before(piece: intake.Slice) -> None:
        piece._wait()  # the blob was found, and not written again
        if not swept:
            swept.append(orphans.remove(blobs.store()))
        commit(piece)

    monkeypatch.setattr(intake.Slice, "commit", swept_before)
    ingest.run(job_id)
    assert swept == [1] and not there("originals", key)
    assert entries_of(job_id) == {"f/a.png": EntryStatus.WAITING}, "nothing was committed that is not there"
    ingest.run(job_id)
    assert there("originals", key)
    with db.read() as session:
        image = session.scalars(select(Image)).one()
    assert image.sha256 == key and there("derivatives", image.derivative)
    assert orphans.remove(blobs.store()) == 0


def test_an_upload_that_comes_again_is_young_again(database: Settings, tmp_path: Path) -> None:
    key = put(b"an archive", "uploads")
    age_more = time.time() - 30 * 86400
    os.utime(blobs.store().path("uploads", key), (age_more, age_more))
    assert search() == 1
    let_time_pass()
    (tmp_path / "again").write_bytes(b"an archive")
    blobs.store().put_file("uploads", tmp_path / "again", key)
    assert orphans.remove(blobs.store()) == 0 and there("uploads", key)


def test_a_store_of_another_database_is_left_alone(database: Settings) -> None:
    store = blobs.store()
    store.put("models", b"a model")
    assert belonging.is_ours(store) and belonging.is_ours(store)
    key = put(b"theirs")
    with db.write() as session:
        session.execute(update(StoreMark).values(mark="0" * 32))
    turn = blobs.SHELVES.index(key[:2]) * database.sweep_seconds
    tidy.run(turn)
    with db.read() as session:
        assert session.scalars(select(Condemned)).all() == []
    store.set_mark("0" * 32)
    tidy.run(turn)
    with db.read() as session:
        assert [row.sha256 for row in session.scalars(select(Condemned))] == [key]


def test_a_store_full_of_strangers_waits_for_a_person(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "FEW", 0)
    key = put(b"alone on its shelf")
    assert orphans.search(blobs.store(), "originals", key[:2]) == 0
    assert orphans.search(blobs.store(), "originals", key[:2], sure=True) == 1


def test_the_check_tells_what_is_wrong(database: Settings) -> None:
    blobs.store().put("models", b"a model")
    with db.write() as session:
        whole, gone, hurt, away = seed.images(session, 4)
        for image, data in ((whole, b"1"), (gone, b"2"), (hurt, b"3")):
            image.sha256, image.derivative = put(data), put(b"small" + data, "derivatives")
        away.path, away.derivative = "/nowhere/a.dcm", whole.derivative
    orphan = put(b"nobody's")
    blobs.store().delete("originals", gone.sha256)
    blobs.store().delete("derivatives", gone.derivative)
    Path(blobs.store().path("originals", hurt.sha256)).write_bytes(b"other")
    run = CliRunner().invoke(cli, ["archive", "check"])
    assert run.exit_code == 1
    assert set(run.output.splitlines()[:5]) == {
        f"missing  originals/{gone.sha256}",
        f"missing  derivatives/{gone.derivative}",
        f"damaged  originals/{hurt.sha256}",
        f"missing  referred/{away.sha256}",
        f"orphan  originals/{orphan}",
    }
    assert CliRunner().invoke(cli, ["archive", "check", "--quick", "--sweep"]).exit_code == 1
    let_time_pass()
    run = CliRunner().invoke(cli, ["archive", "check", "--quick", "--sweep"])
    assert "0 orphan" not in run.output and not there("originals", orphan)
    run = CliRunner().invoke(cli, ["archive", "check", "--json"])
    assert '"orphan": 0' in run.output and '"damaged": 1' in run.output
