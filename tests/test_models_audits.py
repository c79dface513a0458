"""The audits take away what they say, and catch a network that looks at the corner."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from cxrscreen.imaging.phantoms import phantom
from models.evaluation import evaluate
from models.reports import masks


def test_a_planted_marker_is_caught_and_its_absence_is_not(marked, unmarked):
    guilty, innocent = (evaluate(one.bundle, one.index, resamples=100, training=True) for one in (marked, unmarked))
    assert guilty["audits"]["border_only"]["covid"]["auroc"]["value"] > 0.9
    assert guilty["audits"]["border_only"]["relearned"]["auroc"]["value"] > 0.9
    assert guilty["audits"]["lungs_removed"]["relearned"]["auroc"]["value"] > 0.9
    for name in ("covid", "relearned"):
        figure = innocent["audits"]["border_only"][name]["auroc"]
        assert figure["ci95"][0] < 0.6 and figure["value"] < 0.75
    change = guilty["audits"]["border_only"]["covid"]["auroc_change"]
    assert change["ci95"][0] <= change["value"] <= change["ci95"][1]
    assert set(guilty["audits"]) == {"lungs_removed", "border_only", "text_painted"}
    assert 0.5 < guilty["audits"]["border_only"]["taken_away"] < 0.8


@pytest.mark.parametrize("shape", [(100, 80), (40, 300), (9, 9)])
def test_boxes_have_their_shares_whatever_the_shape(shape):
    picture = np.full(shape, 200, dtype=np.uint8)
    frame, lungs = masks.inside(picture), masks.lungs(picture)
    assert not frame[0].any() and not frame[:, -1].any() and frame[shape[0] // 2, shape[1] // 2]
    assert not lungs[:, shape[1] // 2].any() and lungs.any()
    hidden, taken = masks.apply("border_only", picture)
    assert (hidden[frame] == 128).all() and (hidden[~frame] == 200).all()
    assert taken == pytest.approx(frame.mean())
    assert (picture == 200).all()


@pytest.mark.parametrize(("ground", "ink"), [(40, 240), (220, 30)])
def test_text_near_the_edge_is_painted_over_and_the_rest_stays(ground, ink):
    slope = np.linspace(ground - 20, ground + 20, 400).astype(np.uint8)
    plain = np.tile(slope, (300, 1))
    sheet = Image.fromarray(plain)
    font = ImageFont.load_default(16)
    ImageDraw.Draw(sheet).text((12, 10), "PORTABLE", fill=ink, font=font)
    ImageDraw.Draw(sheet).text((180, 150), "R", fill=ink, font=font)
    painted, taken = masks.apply("text_painted", np.asarray(sheet))
    assert 0 < taken < 0.1
    assert np.abs(painted[:40, :140].astype(int) - plain[:40, :140]).max() < 40
    assert (painted[140:180, 170:200] == np.asarray(sheet)[140:180, 170:200]).all()  # the middle is left alone


def test_the_word_on_a_phantom_is_found_and_its_lungs_are_left():
    picture = np.asarray(phantom("normal", 3, 384)).astype(np.uint8)
    mask = masks.text(picture)
    assert mask[9:24, 9:70].mean() > 0.5
    assert mask[96:288, 96:288].mean() < 0.02


def test_paint_over_keeps_a_picture_that_is_all_mask_or_none():
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for mask in (np.zeros((8, 8), bool), np.ones((8, 8), bool)):
        assert (masks.paint_over(picture, mask) == picture).all()
