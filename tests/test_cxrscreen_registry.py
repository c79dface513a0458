"""Bundles into the store and back; activation, roll-back, operating points, comparison."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import seed

from cxrscreen import batches, blobs, compare, db, registry
from cxrscreen.batches import Answer
from cxrscreen.errors import BundleDamaged, Conflict, NoModel, NotFound
from cxrscreen.settings import Settings
from cxrscreen.tables import JobKind, ModelState, OperatingPoint
from models import bundle


def make_bundle(folder: Path, name: str = "m1", **changes: Any) -> Path:
    folder.mkdir(parents=True)
    weights = b"weights of " + name.encode()
    (folder / "model.safetensors").write_bytes(weights)
    record = {
        **seed.RECORD,
        "name": name,
        "threshold": 0.3,
        "phantom": True,
        "weights": {"file": "model.safetensors", "sha256": hashlib.sha256(weights).hexdigest()},
        **changes,
    }
    (folder / "bundle.json").write_text(json.dumps(record))
    return folder


def register(folder: Path, name: str | None = None) -> int:
    with db.write() as session:
        return registry.register(session, blobs.store(), folder, name=name).id


def test_a_bundle_comes_back_as_it_went_in(database: Settings, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    register(folder)
    with db.read() as session:
        version = registry.get(session, "m1")
        assert registry.threshold(session, version.id) == 0.3
    assert version.state == ModelState.CANDIDATE and version.phantom
    fetched = registry.fetch(blobs.store(), version)
    assert {p.name: p.read_bytes() for p in fetched.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_registry_takes_what_the_classifier_reads() -> None:
    assert set(registry.FORMATS) == set(bundle.READ)


def test_a_record_that_names_no_weights(database: Settings, tmp_path: Path) -> None:
    for number, weights in enumerate(("model.safetensors", {"file": "model.safetensors"})):
        with pytest.raises(BundleDamaged, match="which file"):
            register(make_bundle(tmp_path / str(number), weights=weights))


def test_the_same_bundle_again_is_the_same_version(database: Settings, tmp_path: Path) -> None:
    assert register(make_bundle(tmp_path / "b")) == register(tmp_path / "b")
    other = make_bundle(tmp_path / "c", threshold=0.4)
    with pytest.raises(Conflict):
        register(other, name="m1")
    with db.read() as session:
        assert session.get_one(registry.ModelVersion, register(other)).name.startswith("m1-")


def test_what_is_no_bundle_is_refused_in_one_line(database: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    text = make_bundle(tmp_path / "text")
    (text / "bundle.json").write_text("weights: yes")
    tampered = make_bundle(tmp_path / "tampered")
    (tampered / "model.safetensors").write_bytes(b"others")
    bare = make_bundle(tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    other = make_bundle(tmp_path / "other", format="another/2")
    lacking = make_bundle(tmp_path / "lacking")
    record = json.loads((lacking / "bundle.json").read_text())
    del record["classes"]
    (lacking / "bundle.json").write_text(json.dumps(record))
    for folder in (tmp_path / "empty", text, tampered, bare, other, lacking):
        with pytest.raises(BundleDamaged) as caught:
            register(folder)
        assert "\n" not in str(caught.value)
    with db.read() as session:
        assert registry.every(session) == []


def test_weights_outside_the_folder_are_not_taken(database: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    folder = make_bundle(tmp_path / "b", weights={"file": "../secret", "sha256": digest})
    with pytest.raises(BundleDamaged):
        register(folder)


def test_a_store_that_lost_or_changed_a_model_says_so(database: Settings, tmp_path: Path) -> None:
    register(make_bundle(tmp_path / "b"))
    with db.read() as session:
        version = registry.get(session, "m1")
    path = Path(blobs.store().path("models", version.record["weights"]["sha256"]))
    path.write_bytes(b"rot")
    with pytest.raises(BundleDamaged):
        registry.fetch(blobs.store(), version)
    path.unlink()
    with pytest.raises(BundleDamaged):
        registry.fetch(blobs.store(), version)


def test_one_version_is_active_and_the_way_back_is_the_same(database: Settings, tmp_path: Path) -> None:
    register(make_bundle(tmp_path / "b"))
    register(make_bundle(tmp_path / "c", name="m2"))
    with pytest.raises(NoModel), db.read() as session:
        registry.need_active(session)
    for name in ("m1", "m2", "m1"):
        with db.write() as session:
            registry.activate(session, registry.get(session, name), "a test")
        with db.read() as session:
            states = {version.name: version.state for version in registry.every(session)}
            assert states.pop(name) == ModelState.ACTIVE
            assert ModelState.ACTIVE not in states.values()
    with pytest.raises(NotFound), db.read() as session:
        registry.get(session, "m3")


def test_the_newest_operating_point_counts(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session, threshold=0.5)
        session.add(OperatingPoint(model_version_id=version.id, threshold=0.7, note="fewer alarms"))
        session.flush()
        assert registry.threshold(session, version.id) == 0.7


def test_versions_are_compared_on_what_both_scored(database: Settings) -> None:
    with db.write() as session:
        one, two = seed.model(session, "m1"), seed.model(session, "m2", state=ModelState.CANDIDATE)
        seed.running_job(session, one, 4)
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work
        ids = [image.id for image in work.images]
        scores = [0.9, 0.1, 0.6, 0.2]
        batches.finish(session, work, "w", [Answer(i, seed.result(s)) for i, s in zip(ids, scores, strict=True)])
        from cxrscreen import entries, jobs
        from cxrscreen.tables import Entry, EntryStatus, JobState

        job = jobs.create(session, JobKind.RESCREEN, "again", two.id)
        job.state, job.listed = JobState.RUNNING, True
        rows = [Entry(job_id=job.id, name=str(i), frame=0, frames=1, attempts=0, image_id=i) for i in ids[:3]]
        for row in rows:
            row.status = EntryStatus.WAITING
        session.add_all(rows)
        session.flush()
        entries.cut_batches(session, job.id, [row.id for row in rows], 32)
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work and work.model_version_id == two.id
        scores = [0.9, 0.8, 0.3]
        batches.finish(session, work, "w", [Answer(i, seed.result(s)) for i, s in zip(ids, scores, strict=False)])
        said = compare.versions(session, one, two)
    assert (said["studies"], said["same_label"]) == (3, 1)
    assert (said["newly_flagged"], said["no_longer_flagged"]) == (1, 1)
    assert said["mean_score_shift"] == pytest.approx((0 + 0.7 - 0.3) / 3)
    assert len(said["newly_flagged_studies"]) == len(said["no_longer_flagged_studies"]) == 1


def test_a_roll_back_leads_to_what_was_before_and_no_further(database: Settings) -> None:
    with db.write() as session:
        one, two, three = (seed.model(session, name, state=ModelState.CANDIDATE) for name in ("m1", "m2", "m3"))
        with pytest.raises(Conflict):
            registry.roll_back(session, "a test")
        for version in (one, two, three):
            registry.activate(session, version, "a test", f"signed for {version.name}")
        assert registry.roll_back(session, "a test").name == "m2"
        assert registry.roll_back(session, "a test").name == "m1"
        with pytest.raises(Conflict):
            registry.roll_back(session, "a test")
        told = [(version.name, row.sign_off, row.rolled_back) for row, version in registry.activations(session)]
    assert told[::-1] == [
        ("m1", "signed for m1", False),
        ("m2", "signed for m2", False),
        ("m3", "signed for m3", False),
        ("m2", "rolled back", True),
        ("m1", "rolled back", True),
    ]


def test_a_cached_bundle_that_rots_is_fetched_again(database: Settings, tmp_path: Path) -> None:
    register(make_bundle(tmp_path / "b"))
    with db.read() as session:
        version = registry.get(session, "m1")
    cached = registry.fetch(blobs.store(), version)
    (cached / "model.safetensors").write_bytes(b"rot")
    registry._verified.clear()  # as a process that starts
    assert (registry.fetch(blobs.store(), version) / "model.safetensors").read_bytes() == b"weights of m1"
    registry.verify(blobs.store(), version)
