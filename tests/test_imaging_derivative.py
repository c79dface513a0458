"""The small picture that the network sees."""

from __future__ import annotations

import numpy as np
import pytest

from cxrscreen.imaging import Reason, Rejected, decode, encode
from cxrscreen.imaging.phantoms import phantom


@pytest.mark.parametrize(
    ("shape", "small"),
    [((1200, 900), (512, 384)), ((900, 1200), (384, 512)), ((300, 200), (300, 200)), ((5000, 3), (512, 1))],
)
def test_reduced_to_512_and_never_enlarged(shape: tuple[int, int], small: tuple[int, int]) -> None:
    assert decode(encode(np.full(shape, 77, np.uint8))).shape == small


def test_close_to_the_original_and_the_same_each_time() -> None:
    drawn = phantom("covid", 1, 512)
    data = encode(drawn)
    assert data == encode(drawn.copy())
    assert np.abs(decode(data).astype(int) - drawn).mean() < 2


def test_noise_fits_too() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (600, 600), dtype=np.uint8)
    assert len(encode(noise)) <= 64 * 1024


@pytest.mark.parametrize("data", [b"", b"no picture", encode(phantom("normal", 1, 128))[:2000]])
def test_bytes_that_are_no_derivative_are_damage(data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        decode(data)
    assert refused.value.reason == Reason.DAMAGED
