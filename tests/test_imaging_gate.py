"""Which pictures are let through to a score."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom import Dataset

from cxrscreen.imaging import Reason, Rejected, check, read, tags
from cxrscreen.imaging.facts import Facts
from cxrscreen.imaging.gate import check_tags
from cxrscreen.imaging.phantoms import KINDS, phantom

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"


def reason(**facts: object) -> Reason | None:
    try:
        check_tags(Facts(**{"kind": "dicom", "width": 512, "height": 512, "bits": 12, "photometric": "", **facts}))  # type: ignore[arg-type]
    except Rejected as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG"])
def test_radiographs_pass_and_silent_tags_do_not_stop_them(modality: str) -> None:
    assert reason(modality=modality) is None


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "NM", "PT", "MG", "XA", "RF", "SEG", "SR", "PX", "IO", "XC"])
def test_other_examinations_do_not(modality: str) -> None:
    assert reason(modality=modality, body_part="CHEST", view="PA") == Reason.NOT_RADIOGRAPH


@pytest.mark.parametrize("ending", ["2", "2.1", "4", "6.1", "20", "128", "1.2", "1.2.1", "1.3"])
def test_another_class_of_object_is_no_radiograph_whatever_modality_stands_beside_it(ending: str) -> None:
    said = {"modality": "DX", "body_part": "CHEST", "view": "PA"}
    assert reason(sop_class=f"1.2.840.10008.5.1.4.1.1.{ending}", **said) == Reason.NOT_RADIOGRAPH
    for unknown in (f"1.2.840.99.{ending}", "1.2.840.10008.5.1.4.1.1.12.1", COMPUTED_RADIOGRAPHY, SECONDARY_CAPTURE):
        assert reason(sop_class=unknown, **said) is None


@pytest.mark.parametrize("modality", [None, "OT", "SC"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Reason.NOT_RADIOGRAPH),
        ({"body_part": "CHEST"}, None),
        ({"view": "PA"}, None),
        ({"view": "AP"}, None),
        ({"descriptions": ("Portable chest",)}, None),
        ({"descriptions": ("VOI LUT Test",)}, Reason.NOT_RADIOGRAPH),
        ({"sop_class": COMPUTED_RADIOGRAPHY}, None),
        ({"body_part": "CHEST", "view": "LATERAL"}, Reason.NOT_FRONTAL),
        ({"body_part": "KNEE", "view": "AP"}, Reason.NOT_CHEST),
    ],
)
def test_a_secondary_capture_has_to_say_that_it_is_a_chest(
    modality: str | None, said: dict[str, object], expected: Reason | None
) -> None:
    assert reason(**{"modality": modality, "sop_class": SECONDARY_CAPTURE, **said}) == expected


@pytest.mark.parametrize(
    "part", ["CHEST", "PORTABLE CHEST", "NON GRID CHEST", "THORAX", "CHEST_ABDOMEN", "Lung", "", "RIB"]
)
def test_chests_by_any_name_pass(part: str) -> None:
    assert reason(modality="CR", body_part=part) is None


@pytest.mark.parametrize(
    "part",
    ["EXTREMITY", "EXTREMETY", "HAND", "KNEE", "ABDOMEN", "SKULL", "CSPINE", "TSPINE", "THORACIC SPINE", "LSPINE"],
)
def test_other_parts_do_not(part: str) -> None:
    assert reason(modality="CR", body_part=part) == Reason.NOT_CHEST


def test_free_text_counts_only_where_the_body_part_is_silent() -> None:
    assert reason(modality="CR", descriptions=("Left knee AP",)) == Reason.NOT_CHEST
    assert reason(modality="CR", descriptions=("Chest and abdomen",)) is None
    assert reason(modality="CR", body_part="CHEST", descriptions=("Left knee AP",)) is None


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("PA", "PA"), ("AP", "AP"), ("AP SUPINE", "AP"), ("view: PA", "PA"), ("postero-anterior", "PA"),
        ("LL", "LATERAL"), ("RL", "LATERAL"), ("LATERAL", "LATERAL"), ("LARGE LATERAL", "LATERAL"),
        ("RAO", "OBLIQUE"), ("LLD", "DECUBITUS"),
        ("PA and lateral", None), ("portable", None), ("", None), ("APICAL", None),
    ],
)  # fmt: skip
def test_views_in_words(text: str, view: str | None) -> None:
    assert tags.view_in(text) == view


def test_orientation_tells_a_lateral_where_the_view_is_silent() -> None:
    dataset = Dataset()
    dataset.PatientOrientation = ["P", "F"]
    assert tags.view(dataset) == "LATERAL"
    dataset.ViewPosition = "AP"
    assert tags.view(dataset) == "AP"


@pytest.mark.parametrize(("age", "refused"), [(None, False), (17.99, True), (18, False), (0.02, True), (90, False)])
def test_the_young_are_refused_where_the_age_is_told(age: float | None, refused: bool) -> None:
    facts = Facts("dicom", 512, 512, 12, "", modality="DX", age_years=age)
    check_tags(facts)
    if refused:
        with pytest.raises(Rejected) as told:
            check_tags(facts, least_age=18)
        assert told.value.reason == Reason.TOO_YOUNG
    else:
        check_tags(facts, least_age=18)


@pytest.mark.parametrize(
    ("stated", "years"),
    [
        ("062Y", 62),
        ("62", 62),
        ("018M", 1.5),
        ("006W", 0.11),
        ("000Y", None),
        ("", None),
        ("900Y", None),
        ("abc", None),
    ],
)
def test_ages(stated: str, years: float | None) -> None:
    assert tags.age(stated) == years


def test_the_indiana_headers_lead_to_their_views(test_data: Path) -> None:
    table = test_data / "indiana" / "nlmcxr_dicom_metadata.csv.gz"
    found: Counter[tuple[str, str | None]] = Counter()
    with gzip.open(table, "rt", newline="") as file:
        for row in csv.DictReader(file):
            dataset = Dataset()
            dataset.ViewPosition = row["View Position"]
            dataset.PatientOrientation = [part for part in "LRAPFH" if f"'{part}'" in row["Patient Orientation"][:5]]
            found[row["View Position"], tags.view(dataset)] += 1
    named = {view for view, _ in found} - {""}
    assert all(found[view, view] for view in ("PA", "AP"))
    assert all({row[1] for row in found if row[0] == view} == {"LATERAL"} for view in named - {"PA", "AP"})
    assert {row[1] for row in found if row[0] == ""} == {None}  # its orientations are silent there too
    assert sum(found.values()) == 7469


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_phantoms_pass(kind: str, seed: int) -> None:
    check(read(_png(Image.fromarray(phantom(kind, seed, 160))))[0])


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _reason_of_picture(image: Image.Image) -> Reason | None:
    try:
        check(read(_png(image))[0])
    except Rejected as refused:
        return refused.reason
    return None


def test_colour_photographs_are_refused_and_coloured_marks_are_not() -> None:
    rng = np.random.default_rng(1)
    scene = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (320, 240), Image.Resampling.BICUBIC
    )
    assert _reason_of_picture(scene) == Reason.COLOUR
    film = Image.fromarray(phantom("normal", 1, 320)).convert("RGB")
    assert _reason_of_picture(film) is None
    ImageDraw.Draw(film).rectangle((200, 200, 290, 260), outline=(255, 0, 0), width=4)
    ImageDraw.Draw(film).text((10, 280), "ERECT 10:42 PORTABLE", fill=(255, 255, 0))
    assert _reason_of_picture(film) is None


def test_a_tinted_film_is_not_colour() -> None:
    grey = phantom("normal", 1, 320).astype(np.float64)
    blue = np.stack([grey * 0.6, grey * 0.75, 60 + grey * 0.76], axis=2)
    assert _reason_of_picture(Image.fromarray(blue.round().astype(np.uint8))) is None


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_one_tone_is_blank(grey: int) -> None:
    assert _reason_of_picture(Image.new("L", (200, 200), grey)) == Reason.BLANK


def test_a_black_picture_with_a_word_on_it_is_blank() -> None:
    image = Image.new("L", (400, 400))
    ImageDraw.Draw(image).text((10, 10), "NO IMAGE", fill=255)
    assert _reason_of_picture(image) == Reason.BLANK


@pytest.mark.parametrize("size", [(70, 1000), (1000, 70)])
def test_a_strip_is_too_small_once_it_is_shown_to_the_network(size: tuple[int, int]) -> None:
    check_tags(Facts("png", 64, 512, 8, "grey"))
    facts = Facts("png", *size, 8, "grey")
    with pytest.raises(Rejected) as told:
        check_tags(facts)
    assert told.value.reason == Reason.TOO_SMALL


def test_a_thumbnail_is_too_small() -> None:
    assert _reason_of_picture(Image.fromarray(phantom("normal", 1, 63))) == Reason.TOO_SMALL
    assert _reason_of_picture(Image.fromarray(phantom("normal", 1, 64))) is None
