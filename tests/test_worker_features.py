"""Rescreening with another head: stored features answer, no pixel is read; another backbone reads all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import delete, func, select, update
from stack_fixtures import register
from steps import job_over, png, screen_all

from cxrscreen import blobs, db, features, jobs, registry
from cxrscreen.batches import Picture
from cxrscreen.imaging import decode
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Batch,
    Entry,
    Feature,
    Image,
    JobKind,
    JobState,
    ModelState,
    ModelVersion,
    Rejection,
    Result,
)
from models import bundle
from worker import ingest, pixels, rescreen, sweep

IMAGES = 12


def changed(source: Path, target: Path, part: str) -> Path:
    """The same bundle with another head, or with another backbone."""
    screener = bundle.load(source)
    with torch.no_grad():
        if part == "head":
            screener.network.head.weight.mul_(0.6).add_(0.02)
            screener.network.head.bias.sub_(0.1)
        else:
            next(screener.network.body.parameters()).mul_(1.05)
    record = {key: value for key, value in screener.record.items() if key not in ("format", "weights")}
    return bundle.save(target, record | {"name": part}, screener.network, screener.likeness, {})


@pytest.fixture
def archive(database: Settings, screener_once: None, phantom_bundle: Path, tmp_path: Path) -> int:
    """A folder that was screened; answers the version's id."""
    folder = tmp_path / "night"
    folder.mkdir()
    for seed in range(IMAGES):
        (folder / f"{seed}.png").write_bytes(png(seed, "covid" if seed % 2 else "normal"))
    version = register(phantom_bundle).id
    ingest.run(job_over(folder, version))
    screen_all()
    return version


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images whose pixels were read."""
    seen: list[int] = []
    read = pixels.network_input

    def note(image: Picture, size: int, crop: float) -> pixels.Pixels | pixels.Missing:
        seen.append(image.id)
        return read(image, size, crop)

    monkeypatch.setattr(pixels, "network_input", note)
    return seen


def screened_again(version: int) -> JobState:
    with db.write() as session:
        job_id = jobs.create(session, JobKind.RESCREEN, "again", version).id
    ingest.run(job_id)
    screen_all()
    with db.read() as session:
        return jobs.get(session, job_id).state


def test_a_few_kept_features_make_no_large_batches_of_pictures(
    archive: int, phantom_bundle: Path, tmp_path: Path, asked: list[int], configure: Callable[..., Settings]
) -> None:
    configure(batch_size=4)
    with db.write() as session:
        few = select(Image.id).order_by(Image.id).limit(2)
        session.execute(delete(Feature).where(Feature.image_id.not_in(few)))
    version = register(changed(phantom_bundle, tmp_path / "head", "head")).id
    assert screened_again(version) == JobState.DONE
    with db.read() as session:
        job = jobs.latest(session, 1)[0]
        held = select(func.count()).select_from(Entry).where(Entry.job_id == job.id).group_by(Entry.batch_id)
        assert session.scalars(held).all() == [4, 4, 4]


def test_another_head_reads_no_pixels_and_says_what_a_full_pass_says(
    archive: int, phantom_bundle: Path, tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Feature)) == IMAGES
    folder = changed(phantom_bundle, tmp_path / "head", "head")
    version = register(folder).id
    monkeypatch.setattr(rescreen, "FEATURE_BATCH", 8)
    assert screened_again(version) == JobState.DONE
    assert asked == []
    whole = bundle.load(folder)
    with db.read() as session:
        images = list(session.scalars(select(Image).order_by(Image.id)))
        results = {
            one.image_id: one for one in session.scalars(select(Result).where(Result.model_version_id == version))
        }
        refused = set(session.scalars(select(Rejection.image_id).where(Rejection.model_version_id == version)))
        sizes = session.scalars(select(func.count()).select_from(Entry).join(Batch).group_by(Batch.id)).all()
    assert sorted(sizes)[:2] == [4, 8], "batches of features are larger than those of pictures"
    assert results.keys() | refused == {image.id for image in images} and results
    said = whole.predict([decode(blobs.store().get("derivatives", image.derivative)) for image in images])
    assert said.distance is not None
    for row, image in enumerate(images):
        assert (image.id in refused) == whole.unlike(float(said.distance[row]))
        if one := results.get(image.id):
            assert one.score == pytest.approx(said.score[row], abs=1e-3)
            assert one.distance == pytest.approx(said.distance[row], abs=1e-2)
            assert list(one.probabilities.values()) == pytest.approx(said.subclass_p[row].tolist(), abs=1e-3)
            assert (one.label, one.heat) == (said.label[row], None)


def test_another_backbone_looks_at_every_picture(
    archive: int, phantom_bundle: Path, tmp_path: Path, asked: list[int]
) -> None:
    folder = changed(phantom_bundle, tmp_path / "backbone", "backbone")
    assert bundle.load(folder).space != bundle.load(phantom_bundle).space
    assert screened_again(register(folder).id) == JobState.DONE
    assert len(asked) == IMAGES
    with db.read() as session:
        assert len(features.spaces(session)) == 2


def test_what_is_not_kept_or_does_not_fit_is_looked_at(
    archive: int, phantom_bundle: Path, tmp_path: Path, asked: list[int]
) -> None:
    version = register(changed(phantom_bundle, tmp_path / "head", "head")).id
    with db.write() as session:
        first = session.scalars(select(Image.id).order_by(Image.id)).first()
        session.execute(delete(Feature).where(Feature.image_id == first))
    assert screened_again(version) == JobState.DONE
    assert asked == [first]
    with db.write() as session:
        session.execute(delete(Result).where(Result.model_version_id == version))
        session.execute(delete(Rejection).where(Rejection.model_version_id == version))
        session.execute(update(Feature).values(numbers=b"\0" * 6))
    assert screened_again(version) == JobState.DONE
    assert len(asked) == 1 + IMAGES


def test_nothing_is_kept_where_the_setting_says_so(
    configure: Callable[..., Settings], database: Settings, phantom_bundle: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(features, "get_settings", lambda: database.model_copy(update={"keep_features": False}))
    (tmp_path / "one.png").write_bytes(png(1))
    ingest.run(job_over(tmp_path / "one.png", register(phantom_bundle).id))
    screen_all()
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Feature)) == 0


def test_features_end_with_their_image_and_with_the_last_version_of_their_space(archive: int) -> None:
    with db.write() as session:
        assert features.forget(session) == 0
        first = session.scalars(select(Image.id).order_by(Image.id)).first()
        session.execute(delete(Entry).where(Entry.image_id == first))
        session.execute(delete(Image).where(Image.id == first))
        assert session.scalar(select(func.count()).select_from(Feature)) == IMAGES - 1
        session.execute(update(ModelVersion).where(ModelVersion.id == archive).values(state=ModelState.RETIRED))
        assert features.forget(session, 8) == 8
    sweep.run()
    with db.read() as session:
        assert features.spaces(session) == []


def test_a_bundle_whose_space_is_not_its_own_is_refused(phantom_bundle: Path, tmp_path: Path) -> None:
    assert len(bundle.load(phantom_bundle).record["feature_space"]) == 16
    text = (phantom_bundle / "bundle.json").read_text()
    weights = (phantom_bundle / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "bundle.json").write_text(text.replace(bundle.load(phantom_bundle).space, "0" * 16))
    with pytest.raises(bundle.BundleError, match="feature_space"):
        bundle.load(tmp_path)
    assert registry.read_record(tmp_path)


def test_numbers_that_16_bits_cannot_hold_are_not_kept(phantom_bundle: Path) -> None:
    screener = bundle.load(phantom_bundle)
    inputs = torch.zeros(2, 1, screener.size, screener.size, dtype=torch.uint8)
    engine = screener.engine

    class Loud:
        name, chunk = "loud", 32

        def __call__(self, inputs: torch.Tensor) -> object:
            said = engine(inputs)
            said.pooled[1, 0] = np.float32(1e6)
            return said

    screener.engine = Loud()  # type: ignore[assignment]
    kept = screener.predict_inputs(inputs).features
    assert kept[0] and not kept[1]
