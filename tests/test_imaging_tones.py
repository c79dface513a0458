"""Greys from stored values, against the formulas of the DICOM standard."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from cxrscreen.imaging.rendering import rendering
from cxrscreen.imaging.tones import Lut, Rendering, Window

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shown(stored: np.ndarray, **how: object) -> np.ndarray:
    codes = stored.view(f"u{stored.dtype.itemsize}")
    return Rendering(**{"bits": 12, **how}).tones(stored)[codes]  # type: ignore[arg-type]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2048, 4096), (1000, 800), (3000.5, 20.0), (100, 1500)])
def test_windows_are_those_of_pydicom(function: str, centre: float, width: float) -> None:
    dataset = pydicom.Dataset()
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 12, 0
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = centre, width, function
    # pydicom's greys run from 0 to 4095.
    expected = apply_voi_lut(RAMP, dataset) / 4095 * 255
    window = Window(centre, width, function).apply(RAMP.astype(np.float64))
    assert window is not None and np.abs(window - expected).max() < 0.51


def test_rescale_comes_before_the_window() -> None:
    signed = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    dataset = pydicom.Dataset()
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 12, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-100"
    dataset.WindowCenter, dataset.WindowWidth = "400", "3000"
    expected = apply_voi_lut(apply_modality_lut(signed, dataset), dataset)
    expected = (expected - expected.min()) / (expected.max() - expected.min()) * 255
    greys = rendering(dataset, 12, "MONOCHROME2").tones(signed)[signed.view(np.uint16)]
    assert np.abs(greys - expected).max() < 1.01


def test_monochrome1_is_inverted_after_the_window() -> None:
    window = [Window(1000, 800)]
    assert np.array_equal(shown(RAMP, windows=window), 255 - shown(RAMP, windows=window, inverted=True))


def test_the_voi_table_goes_before_the_window_and_white_is_what_it_reaches() -> None:
    table = Lut(first=1000, entries=np.linspace(0, 1023, 500).astype(np.uint16), bits=16)
    grey = shown(RAMP, voi=table, windows=[Window(10, 10)]).ravel()
    assert grey[:1001].max() == 0 and grey[1499:].min() == 255
    assert abs(int(grey[1250]) - 128) <= 1


def test_a_window_beside_the_pixels_is_passed_over() -> None:
    low = RAMP // 16  # the window of the twelve-bit original was left in an eight-bit copy
    assert np.ptp(shown(low, windows=[Window(40_000, 100)])) == 255


@pytest.mark.parametrize("width", [0, -5, float("nan")])
def test_a_window_that_the_standard_forbids_is_passed_over(width: float) -> None:
    assert np.array_equal(shown(RAMP, windows=[Window(100, width)]), shown(RAMP))


def test_padding_does_not_count_for_the_percentiles() -> None:
    padded = RAMP.copy()
    padded[:32] = 65535
    kept = shown(padded, bits=16, padding=65535)[32:]
    assert kept.min() == 0 and np.percentile(kept, 99) > 240


def test_eight_bits_without_a_window_stay_as_they_are() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(shown(ramp, bits=8), ramp)
