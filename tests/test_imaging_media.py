"""What a CD or a memory stick with DICOM holds, with a DICOMDIR and without one."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet
from test_imaging_archives import as_zip

from cxrscreen.imaging import Reason, Rejected, prepare, walk
from cxrscreen.imaging.phantom_files import dicom_bytes
from cxrscreen.imaging.phantoms import phantom


def _medium(folder: Path) -> Path:
    """A file-set as pydicom writes one, and what viewers put beside it."""
    source = folder / "source"
    source.mkdir()
    files = FileSet()
    for number in (1, 2):
        drawn = phantom("covid", number, 96, bits=12).astype(np.uint16)
        dataset = pydicom.dcmread(BytesIO(dicom_bytes(drawn, number, 1, inverted=False)))
        dataset.PatientID, dataset.StudyID, dataset.StudyTime, dataset.StudyDate = f"P{number}", "1", "1200", "20200101"
        dataset.SeriesNumber = 1
        files.add(dataset)
    medium = folder / "medium"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files.write(medium)
    (medium / "AUTORUN.INF").write_text("[autorun]\nopen=VIEWER.EXE\n")
    (medium / "VIEWER.EXE").write_bytes(b"MZ" + bytes(500))
    return medium


def _ends(path: Path) -> dict[str, str]:
    ends = {}
    for member in walk(path, "m"):
        try:
            ends[member.name] = "accepted" if all(one.refused is None for one in prepare(member.read())) else "refused"
        except Rejected as refused:
            ends[member.name] = f"{refused.reason}: {refused.detail}"
    return ends


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("listed", [True, False])
def test_a_medium_is_read_by_its_files(packed: bool, listed: bool, tmp_path: Path) -> None:
    path = _medium(tmp_path)
    if not listed:
        (path / "DICOMDIR").unlink()
    if packed:
        files = [(str(file.relative_to(path)), file.read_bytes()) for file in sorted(path.rglob("*")) if file.is_file()]
        (tmp_path / "m.zip").write_bytes(as_zip(files))
        path = tmp_path / "m.zip"
    ends = _ends(path)
    assert sorted(ends.values()).count("accepted") == 2
    others = {name: end for name, end in ends.items() if end != "accepted"}
    assert all(end.startswith(Reason.NO_IMAGE) for end in others.values())
    assert others.keys() == {"m/AUTORUN.INF", "m/VIEWER.EXE"} | ({"m/DICOMDIR"} if listed else set())
    if listed:
        assert "table of contents" in others["m/DICOMDIR"]
