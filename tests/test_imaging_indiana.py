"""The headers of the Indiana collection, each combination on a file with small pixels: its greys and its view.

The table holds headers only; the pixels are a phantom's, stored as each header says.
"""

from __future__ import annotations

import ast
import csv
import gzip
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from cxrscreen.imaging import Reason, Rejected, check, read
from cxrscreen.imaging.phantoms import phantom

SIDE = 80
NUMBERS = ("Bits Allocated", "Bits Stored", "High Bit", "Pixel Representation", "Samples per Pixel")
TEXTS = (
    *("Photometric Interpretation", "Modality", "Body Part Examined", "View Position", "SOP Class UID"),
    *("Rescale Slope", "Rescale Intercept", "Rescale Type", "Window Center", "Window Width"),
    *("Presentation LUT Shape", "Polarity", "Laterality", "Image Laterality", "Presentation Intent Type"),
)
LISTS = ("Patient Orientation", "Image Type")
CODED = "View Code Sequence"
LATERAL = {"LL", "RL", "LATERAL", "LARGE LATERAL"}


@pytest.fixture(scope="module")
def headers(test_data: Path) -> Counter[tuple[str, ...]]:
    """Each combination of the tags that say how pixels are shown and what they show, and how many files have it."""
    found: Counter[tuple[str, ...]] = Counter()
    with gzip.open(test_data / "indiana" / "nlmcxr_dicom_metadata.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            found[tuple(row[name] for name in (*NUMBERS, *TEXTS, *LISTS, CODED))] += 1
    return found


def _file(header: dict[str, str], drawn: np.ndarray) -> bytes:
    """A DICOM file with a header's tags and `drawn`, 0 to 1, over the range of its samples."""
    dataset = pydicom.Dataset()
    for name in NUMBERS:
        setattr(dataset, name.replace(" per ", " Per ").replace(" ", ""), int(header[name]))
    for name in TEXTS:
        if header[name]:
            setattr(dataset, name.replace(" ", ""), _values(header[name]))
    for name in LISTS:
        if header[name]:
            setattr(dataset, name.replace(" ", ""), _values(header[name]))
    if header[CODED]:
        item = pydicom.Dataset()
        item.CodeMeaning = header[CODED].split("Code Meaning", 1)[1].split("'")[1]
        dataset.ViewCodeSequence = [item]
    top = 2 ** int(header["Bits Stored"]) - 1
    if header["Photometric Interpretation"] == "MONOCHROME1":
        drawn = 1 - drawn
    dataset.Rows, dataset.Columns = drawn.shape
    dataset.PixelData = np.rint(drawn * top).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.SOPInstanceUID = uid.generate_uid(entropy_srcs=["indiana"])
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _values(told: str) -> str | list[str]:
    """A cell of the table, where lists are written as Python's."""
    return list(ast.literal_eval(told)) if told.startswith("[") else told


def test_every_header_leads_to_its_greys_and_its_view(headers: Counter[tuple[str, ...]]) -> None:
    drawn = phantom("normal", 1, SIDE).astype(np.float64) / 255
    ends: Counter[str] = Counter()
    for values, count in headers.items():
        header = dict(zip((*NUMBERS, *TEXTS, *LISTS, CODED), values, strict=True))
        (frame,) = read(_file(header, drawn))
        likeness = np.corrcoef(frame.display().ravel(), drawn.ravel())[0, 1]
        assert likeness > 0.9, (likeness, header)
        assert frame.facts.bits == int(header["Bits Stored"])
        stated = header["View Position"]
        assert frame.facts.view == ("LATERAL" if stated in LATERAL else stated or None), header
        end = "accepted"
        try:
            check(frame)
        except Rejected as refused:
            end = refused.reason
        if header["Body Part Examined"] == "EXTREMETY":
            assert end == Reason.NOT_CHEST
        else:
            assert end == (Reason.NOT_FRONTAL if stated in LATERAL else "accepted"), header
        ends[end] += count
    assert ends == {"accepted": 6602 - 1, Reason.NOT_FRONTAL: 867 - 1, Reason.NOT_CHEST: 2}
