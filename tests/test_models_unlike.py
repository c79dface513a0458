"""What the shipped bundle refuses: pictures of other things, and not the chests it is made for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bench import unlike
from models import bundle


@pytest.fixture(scope="module")
def screener() -> bundle.Screener:
    return bundle.load(unlike.SHIPPED)


def refused(screener: bundle.Screener, images: list[unlike.Pixels]) -> npt.NDArray[np.bool_]:
    distance = screener.predict(images).distance
    assert distance is not None
    return np.array([screener.unlike(float(one)) for one in distance])


def test_hands_text_noise_and_shapes_are_refused(screener):
    assert refused(screener, list(unlike.drawn())).all()


def test_photographs_are_refused(screener):
    said = refused(screener, list(unlike.photographs()))
    assert said.mean() >= 0.9, said


def test_dicom_files_of_other_kinds_are_refused_by_their_pixels_alone(screener, test_data):
    images = list(unlike.other_dicom(test_data / "dicom"))
    assert len(images) >= 12
    said = refused(screener, images)
    assert said.mean() >= 0.85, said


@pytest.mark.parametrize("split", ["val", "test"])
def test_chests_are_not_refused(screener, test_data, split):
    said = refused(screener, unlike.chests(test_data, split))
    assert said.mean() <= 0.02, said.sum()


def test_children_of_another_hospital_still_look_like_chests(screener, test_data):
    said = refused(screener, unlike.children(test_data))
    assert len(said) > 50 and said.mean() <= 0.05, said.sum()
