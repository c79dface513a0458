"""Ingest, called as the task calls it: every member ends as a row, kills and repeats change nothing."""

from __future__ import annotations

import io
import os
import random
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from stack_fixtures import register
from steps import entries_of, job_over, png, screen_all

from cxrscreen import blobs, db, jobs
from cxrscreen.imaging import Prepared, phantom_files, phantoms
from cxrscreen.imaging.reasons import Reason, sentence
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import Batch, Entry, EntryStatus, Image, Job, JobKind, JobState, Rejection, Upload
from worker import accepted, ingest, intake, trial
from worker.leaves import Leaf, Place


@pytest.fixture
def model(database: Settings, screener_once: None, phantom_bundle: Path) -> int:
    return register(phantom_bundle).id


def test_a_folder_of_everything_is_accounted_for(model: int, tmp_path: Path) -> None:
    folder = tmp_path / "night"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(png(1))
    (folder / "deep" / "same as a.png").write_bytes(png(1))
    (folder / "notes.txt").write_text("no picture")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "cut.png").write_bytes(png(2)[:-3000])
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("b.png", png(3))
        archive.writestr("deep/c.png", png(4, "covid"))
    with tarfile.open(folder / "more.tar.gz", "w:gz") as archive:
        archive.add(folder / "a.png", "again.png")
    job_id = job_over(folder, model)
    ingest.run(job_id)
    screen_all()
    assert entries_of(job_id) == {
        "night/a.png": EntryStatus.SCORED,
        "night/cut.png": EntryStatus.REJECTED,
        "night/deep/same as a.png": EntryStatus.DUPLICATE,
        "night/empty.dcm": EntryStatus.REJECTED,
        "night/more.tar.gz/again.png": EntryStatus.DUPLICATE,
        "night/more.zip/b.png": EntryStatus.SCORED,
        "night/more.zip/deep/c.png": EntryStatus.SCORED,
        "night/notes.txt": EntryStatus.REJECTED,
    }
    with db.read() as session:
        account = jobs.account(session, job_id)
        assert account.reasons == {Reason.DAMAGED: 1, Reason.EMPTY: 1, Reason.NO_IMAGE: 1}
        assert jobs.get(session, job_id).state == JobState.DONE
        # A file of the folder is referred to; a member of an archive is copied.
        kept = {image.name: image for image in session.scalars(select(Image))}
    assert kept["night/a.png"].path == str(folder / "a.png")
    assert not blobs.store().exists("originals", kept["night/a.png"].sha256)
    assert kept["night/more.zip/b.png"].path is None
    assert blobs.store().get("originals", kept["night/more.zip/b.png"].sha256) == png(3)


def test_a_file_is_read_as_it_is_when_the_setting_copies(
    configure: Callable[..., Settings], model: int, tmp_path: Path
) -> None:
    configure(copy_folder_files=True)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.png").write_bytes(png(1))
    ingest.run(job_over(tmp_path / "f", model))
    with db.read() as session:
        image = session.scalars(select(Image)).one()
    assert image.path is None and blobs.store().get("originals", image.sha256) == png(1)


def test_known_bytes_are_linked_and_their_result_used_again(model: int, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for n in range(3):
        (tmp_path / "f" / f"{n}.png").write_bytes(png(n))
    first = job_over(tmp_path / "f", model)
    ingest.run(first)
    screen_all()
    second = job_over(tmp_path / "f", model)
    ingest.run(second)
    assert set(entries_of(second).values()) == {EntryStatus.SCORED}
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 3
        assert session.scalar(select(func.count()).where(Batch.job_id == second)) == 0
        assert jobs.get(session, second).state == JobState.DONE


def test_an_ingest_that_died_goes_on_where_it_was(
    model: int, tmp_path: Path, configure: Callable[..., Settings]
) -> None:
    configure(batch_size=4)
    (tmp_path / "f").mkdir()
    for n in range(12):
        (tmp_path / "f" / f"{n:02}.png").write_bytes(png(n))
    job_id = job_over(tmp_path / "f", model)
    commit = intake.Slice._commit

    class Killed(BaseException):
        """Passes by every handler, as a kill does."""

    def die_at_the_second(self: intake.Slice, leaves: list[Leaf]) -> list[int]:
        if any(leaf.member.name.endswith("05.png") for leaf in leaves):
            raise Killed
        return commit(self, leaves)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(intake.Slice, "_commit", die_at_the_second)
        ingest.run(job_id)
    with db.read() as session:
        account = jobs.account(session, job_id)
        # The third slice is being read while the second is written.
        assert account.found == 12 and account.waiting == 12
        assert session.scalar(select(func.count()).select_from(Image)) == 4
    with db.write() as session:
        session.execute(update(Job).values(lease_until=None))
    ingest.run(job_id)
    screen_all()
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(scored=12)
        assert session.scalar(select(func.count()).select_from(Image)) == 12


def test_a_slice_is_decoded_while_the_one_before_is_written_but_for_its_twins(
    model: int, tmp_path: Path, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(batch_size=4)
    (tmp_path / "f").mkdir()
    for n in range(8):
        (tmp_path / "f" / f"{n:02}.png").write_bytes(png(n % 5))
    job_id = job_over(tmp_path / "f", model)
    read, commit = trial.read, intake.Slice._commit
    decoded: list[str] = []
    fifth = threading.Event()
    beside: list[bool] = []

    def note(data: bytes, name: str) -> list[Prepared]:
        decoded.append(Path(name).name)
        if name.endswith("04.png"):
            fifth.set()
        return read(data, name)

    def wait(self: intake.Slice, leaves: list[Leaf]) -> list[int]:
        beside.append(fifth.wait(60))
        return commit(self, leaves)

    monkeypatch.setattr(trial, "read", note)
    monkeypatch.setattr(intake.Slice, "_commit", wait)
    ingest.run(job_id)
    assert beside == [True, True]
    assert sorted(decoded) == [f"{n:02}.png" for n in range(5)]
    screen_all()
    said = entries_of(job_id)
    assert [said[f"f/{n:02}.png"] for n in range(8)] == [EntryStatus.SCORED] * 5 + [EntryStatus.DUPLICATE] * 3


def test_small_slices_are_committed_together_twins_and_all(
    model: int, tmp_path: Path, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(batch_size=6)
    (tmp_path / "f").mkdir()
    for n in range(12):
        (tmp_path / "f" / f"{n:02}.png").write_bytes(png(n % 9))
    (tmp_path / "f" / "03.png").write_bytes(png(0))
    (tmp_path / "f" / "04.png").write_bytes(png(1)[:-3000])
    job_id = job_over(tmp_path / "f", model)
    commit, together = intake.Slice._commit, []

    def note(self: intake.Slice, leaves: list[Leaf]) -> list[int]:
        assert not any(leaf.data for leaf in leaves[:-1]), "of what is carried nothing is in memory"
        together.append(len(leaves))
        return commit(self, leaves)

    monkeypatch.setattr(ingest, "SLICE_BYTES", 1)
    monkeypatch.setattr(intake, "TOGETHER_SECONDS", 600.0)
    monkeypatch.setattr(intake.Slice, "_commit", note)
    ingest.run(job_id)
    assert together == [6, 6]
    screen_all()
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(
            scored=7, duplicate=4, rejected=1, reasons={Reason.DAMAGED: 1}
        )
        assert session.scalar(select(func.count()).select_from(Batch)) == 2
        first = {row.name: row.image_id for row in session.execute(select(Entry.name, Entry.image_id))}
        twins = session.scalars(select(Entry.duplicate_of).where(Entry.duplicate_of.is_not(None))).all()
    assert len(twins) == 4
    assert first["f/03.png"] == first["f/09.png"] == first["f/00.png"] is not None


def test_a_name_that_is_no_text_is_taken_in_by_copy(model: int, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.png").write_bytes(png(1))
    Path(os.fsdecode(os.fsencode(tmp_path / "f") + b"/\xff\xfe.png")).write_bytes(png(2))
    job_id = job_over(tmp_path / "f", model)
    ingest.run(job_id)
    screen_all()
    assert entries_of(job_id) == dict.fromkeys(["f/a.png", r"f/\xff\xfe.png"], EntryStatus.SCORED)
    with db.read() as session:
        paths = {image.name: image.path for image in session.scalars(select(Image))}
        kept = session.scalar(select(Image.sha256).where(Image.path.is_(None)))
    assert paths == {"f/a.png": str(tmp_path / "f" / "a.png"), r"f/\xff\xfe.png": None}
    assert kept and blobs.store().get("originals", kept) == png(2)


def test_a_name_longer_than_an_index_takes_ends_no_job(model: int, tmp_path: Path) -> None:
    """Of letters that do not compress, in folders and in archives within each other."""
    letters = random.Random(1)

    def name(length: int) -> str:
        return "".join(letters.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))

    deep = tmp_path / "f" / "/".join(name(200) for _ in range(15))
    deep.mkdir(parents=True)
    for n in range(2):
        (deep / f"{n}.png").write_bytes(png(n))
    data = png(2)
    for _ in range(3):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name(1000), data)
        data = buffer.getvalue()
    (deep / "a.zip").write_bytes(data)
    job_id = job_over(tmp_path / "f", model)
    ingest.run(job_id)
    screen_all()
    found = entries_of(job_id)
    assert list(found.values()) == [EntryStatus.SCORED] * 3 and max(len(one.encode()) for one in found) <= 2048


def test_a_file_whose_rows_cannot_be_written_fails_alone(
    model: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").mkdir()
    for n in range(5):
        (tmp_path / "f" / f"{n}.png").write_bytes(png(n))
    job_id = job_over(tmp_path / "f", model)
    accept = accepted.accept

    def stumbles(session: Session, place: Place, taken: list[tuple[Leaf, Entry]]) -> list[int]:
        if any(row.name == "f/3.png" for _, row in taken):
            raise ValueError("nobody foresaw this")
        return accept(session, place, taken)

    monkeypatch.setattr(accepted, "accept", stumbles)
    ingest.run(job_id)
    screen_all()
    assert [name for name, status in entries_of(job_id).items() if status != EntryStatus.SCORED] == ["f/3.png"]
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(scored=4, failed=1, reasons={Reason.INTERNAL: 1})


def test_an_ingest_that_stumbles_again_and_again_fails_with_its_reason(
    model: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = job_over(tmp_path, model)
    with db.write() as session:
        session.add(Entry(job_id=job_id, name="f/1.png", attempts=0))

    def stumbles(*_: object) -> None:
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr(ingest, "_open_source", stumbles)
    monkeypatch.setattr(ingest, "PAUSE_SECONDS", 0)
    for _ in range(ingest.TRIES):
        with db.read() as session:
            assert jobs.get(session, job_id).state in (JobState.WAITING, JobState.RUNNING)
        ingest.run(job_id)
    with db.read() as session:
        job = jobs.get(session, job_id)
        assert (job.state, job.error) == (JobState.FAILED, sentence(Reason.INTERNAL))
        assert jobs.account(session, job_id) == jobs.Account(failed=1, reasons={Reason.INTERNAL: 1})


def test_a_child_gets_no_score_unless_the_setting_says_so(
    model: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ages"
    folder.mkdir()
    for name, age in (("child.dcm", "009Y"), ("adult.dcm", "049Y"), ("silent.dcm", "")):
        pixels = phantoms.phantom("normal", seed=5, side=160, bits=12).astype(np.uint16)
        picture = pydicom.dcmread(io.BytesIO(phantom_files.dicom_bytes(pixels, 1, 1, inverted=False)))
        picture.PatientAge = age
        picture.save_as(folder / name)
    ingest.run(job_id := job_over(folder, model))
    rejected, waiting = EntryStatus.REJECTED, EntryStatus.WAITING
    assert entries_of(job_id) == {"ages/adult.dcm": waiting, "ages/child.dcm": rejected, "ages/silent.dcm": waiting}
    with db.read() as session:
        found = session.scalar(select(Rejection).join(Entry, Entry.id == Rejection.entry_id))
    assert found is not None
    assert (found.reason, found.detail) == (Reason.TOO_YOUNG, "The tags say 9 years; the least is 18.")
    monkeypatch.setenv("CXRSCREEN_MIN_AGE", "0")
    get_settings.cache_clear()
    ingest.run(job_id := job_over(folder, model))
    assert entries_of(job_id)["ages/child.dcm"] == waiting


def test_a_lost_upload_fails_the_job_with_its_reason(model: int) -> None:
    with db.write() as session:
        upload = Upload(name="gone.zip", size=1, sha256="0" * 64)
        session.add(upload)
        session.flush()
        sources = [{"upload": upload.id, "label": "gone.zip"}]
        job_id = jobs.create(session, JobKind.UPLOAD, "gone.zip", model, sources=sources).id
    ingest.run(job_id)
    with db.read() as session:
        job = jobs.get(session, job_id)
    assert job.state == JobState.FAILED and job.error and "gone.zip" in job.error


def test_a_source_that_went_away_is_an_entry_with_its_reason(model: int, tmp_path: Path) -> None:
    job_id = job_over(tmp_path / "gone", model)
    ingest.run(job_id)
    assert entries_of(job_id) == {"gone": EntryStatus.REJECTED}
    with db.read() as session:
        assert session.scalar(select(Rejection.reason)) == Reason.UNREADABLE


def test_no_name_of_a_person_reaches_the_database(model: int, tmp_path: Path, phantom_archive: Path) -> None:
    job_id = job_over(phantom_archive, model)
    ingest.run(job_id)
    with db.get_engine().connect() as connection:
        for table in ("studies", "images", "entries", "rejections", "results"):
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}"):
                assert "PHANTOM^" not in str(row), table


def test_a_derivative_that_was_lost_is_made_again(model: int, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.png").write_bytes(png(1))
    (tmp_path / "f" / "b.png").write_bytes(png(2))
    job_id = job_over(tmp_path / "f", model)
    ingest.run(job_id)
    with db.read() as session:
        for image in session.scalars(select(Image)):
            blobs.store().delete("derivatives", image.derivative)
    (tmp_path / "f" / "b.png").unlink()
    screen_all()
    assert entries_of(job_id) == {"f/a.png": EntryStatus.SCORED, "f/b.png": EntryStatus.FAILED}
    with db.read() as session:
        assert jobs.account(session, job_id).reasons == {Reason.ORIGINAL_MISSING: 1}
