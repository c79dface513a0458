"""From pixels to the network's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.images import grey_statistics, normalise, stack, to_input


def picture(height: int, width: int, low: int = 0, high: int = 255) -> np.ndarray:
    across = np.linspace(low, high, width)
    return np.tile(across, (height, 1)).astype(np.uint8)


def test_any_format_becomes_a_square_without_bars():
    for shape in ((50, 200), (200, 50), (96, 96), (700, 500)):
        out = to_input(picture(*shape), 64)
        assert out.shape == (64, 64) and out.dtype == np.uint8
        assert out[:, -1].min() > 240  # no padding at any side
        assert out[0].max() > 240 and out[-1].max() > 240


def test_contrast_is_stretched_so_that_faint_and_strong_pictures_agree():
    faint, strong = to_input(picture(80, 80, 100, 140), 40), to_input(picture(80, 80, 0, 255), 40)
    assert faint.min() == 0 and faint.max() == 255
    assert np.abs(faint.astype(int) - strong.astype(int)).max() <= 8


def test_one_bright_marker_does_not_eat_the_contrast():
    marked = picture(100, 100, 80, 120)
    marked[:5, :5] = 255
    assert to_input(marked, 100)[50].max() == 255


def test_a_picture_of_one_tone_is_grey():
    assert np.unique(to_input(np.full((30, 40), 200, np.uint8), 32)).tolist() == [128]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(ValueError, match="uint8 of height and width"):
        to_input(wrong, 8)


def test_a_picture_is_prepared_on_its_own():
    chance = np.random.default_rng(0)
    many = [chance.integers(0, 256, size=(70, 90), dtype=np.uint8) for _ in range(3)]
    assert torch.equal(stack(many, 32)[1:2], stack(many[1:2], 32))
    assert stack([], 32).shape == (0, 1, 32, 32)


def test_statistics_make_zero_mean_and_unit_deviation():
    inputs = stack([picture(60, 60), picture(60, 60)[:, ::-1].copy()], 48)
    x = normalise(inputs, *grey_statistics(inputs))
    assert abs(float(x.mean())) < 1e-3
    assert abs(float(x.std()) - 1) < 1e-3


def test_a_crop_cuts_the_same_share_off_every_side():
    across = picture(200, 100)
    whole, inner = to_input(across, 100), to_input(across, 100, crop=0.1)
    # Stretched anew, a straight ramp without its ends is a straight ramp again: only what was cut tells them apart.
    assert np.abs(whole.astype(int) - inner.astype(int)).max() <= 3
    framed = across.copy()
    framed[:10], framed[-10:], framed[:, :5], framed[:, -5:] = 255, 0, 255, 0
    np.testing.assert_array_equal(to_input(framed, 100, crop=0.1), inner)
    assert (to_input(framed, 100) != whole).any()
