"""The Indiana University collection (Open-i): XML reports, pictures that they name, and a table of DICOM headers.

Which pictures are frontal is in no report. A table of projections that people made (indiana_projections.csv) is
believed first; else the View Position of nlmcxr_dicom_metadata.csv, which is empty for a third of the pictures and
says PA of both pictures of many reports that speak of a lateral one: those are left out.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import IndexInvalid
from models.indexes.folders import SUFFIXES
from models.indexes.reports import Report, read_reports
from models.indexes.rows import FRONTAL, NOT_FRONTAL, Found, Options, Row, first_existing, years

ARCHIVE = "NLMCXR_reports.tgz"
UNPACKED = "ecgen-radiology"
HEADERS = ("nlmcxr_dicom_metadata.csv.gz", "nlmcxr_dicom_metadata.csv")
PROJECTIONS = "indiana_projections.csv"
PICTURES = ("NLMCXR_png", "NLMCXR_dcm", "images", "images_normalized")
_LATERAL = re.compile(r"\blat\b|\blateral|\b(2|two)[ -]+views?\b|\b(2|two) xxxx\b", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """view is PA, AP, FRONTAL, LATERAL or empty; age in years, of the dates that were put in place of the true ones."""

    view: str
    age: float | None = None
    seen: bool = False  # by a person, who made the table of projections


def fits_folder(folder: Path) -> bool:
    return (folder / ARCHIVE).is_file() or (folder / UNPACKED).is_dir() or any(folder.glob("CXR*.xml"))


def read(path: Path, options: Options) -> Found:
    reports, home = path, path if path.is_dir() else path.parent
    if path.is_dir() and (path / ARCHIVE).is_file():
        reports = path / ARCHIVE
    elif path.is_dir() and (path / UNPACKED).is_dir():
        reports = path / UNPACKED
    found = Found()
    places = [home, home.parent] if home.name == UNPACKED else [home]
    headers = _headers([*places, *([options.images] if options.images else [])])
    files = _pictures(options.images, places)
    for report in read_reports(reports, options.partial):
        if report is None:
            found.left_out["the report is broken"] += 1
        elif not report.images:
            found.left_out["a report without pictures"] += 1
        elif report.label is None:
            found.left_out["neither normal nor pneumonia"] += len(report.images)
        else:
            _take(report, report.label, headers, files, options.images or home, found)
    return found


def _take(
    report: Report, label: str, headers: dict[str, Header], files: dict[str, Path], folder: Path, found: Found
) -> None:
    known = {name: headers.get(key(name), Header("")) for name in report.images}
    views = [header.view for header in known.values()]
    spoken = any(_LATERAL.search(caption) for caption in report.images.values())
    doubtful = spoken and "LATERAL" not in views and sum(view in FRONTAL for view in views) > 1
    for name, header in known.items():
        if not header.view:
            found.left_out["the view is not stated"] += 1
        elif header.view == "LATERAL":
            found.left_out[NOT_FRONTAL] += 1
        elif doubtful and not header.seen:
            found.left_out["tagged frontal like every picture of a report that has a lateral"] += 1
        else:
            where = files.get(key(name), folder / f"{name}.png")
            view = "" if header.view == "FRONTAL" else header.view
            patient = f"indiana-{report.uid.removeprefix('CXR')}"
            found.rows.append(Row(where, f"{name}.png", label, patient, "indiana", "", view, "", header.age))


def key(name: str) -> str:
    """One spelling for all: reports, tables and files say CXR1_1_IM-0001-3001, CXR1_IM-0001-3001, 1_IM-0001-3001."""
    stem = re.sub(r"(\.(dcm|png|jpe?g))+$", "", name.rsplit("/", 1)[-1], flags=re.IGNORECASE).removeprefix("CXR")
    return re.sub(r"^(\d+)_\1_", r"\1_", stem)


def _pictures(images: Path | None, places: list[Path]) -> dict[str, Path]:
    """key -> file, of the folder that was named or of the collection's own."""
    roots = [images] if images else [place / name for place in places for name in PICTURES]
    found: dict[str, Path] = {}
    for root in roots:
        for below, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES:
                    found.setdefault(key(name), Path(below) / name)
    if not images:
        for file in (file for place in places for file in sorted(place.glob("*IM-*"))):
            found.setdefault(key(file.name), file)
    return found


def _headers(places: list[Path]) -> dict[str, Header]:
    tables = [place / name for place in places for name in HEADERS]
    told = [place / PROJECTIONS for place in places]
    headers, projections = first_existing(tables), first_existing(told)
    found: dict[str, Header] = {}
    for file in (headers, projections):
        if not file.is_file():
            continue
        try:
            for cells in _cells(file):
                if file is projections:
                    name = key(cells["filename"] or "")
                    view = "LATERAL" if (cells["projection"] or "").lower() == "lateral" else "FRONTAL"
                    old = found.get(name, Header(view))
                    agreed = old.view in FRONTAL and view == "FRONTAL"
                    found[name] = Header(old.view if agreed else view, old.age, seen=True)
                else:
                    found[key(cells["imageid"] or "")] = Header(_view(cells["View Position"] or ""), _age(cells))
        except KeyError as error:
            raise IndexInvalid(f"{file} has no column {error.args[0]}.") from None
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise IndexInvalid(f"{file} cannot be read as a CSV of UTF-8 text: {error}.") from None
    if not found:
        raise IndexInvalid(
            f"{places[0]}: nothing tells which pictures are frontal; put {HEADERS[0]} or {PROJECTIONS} "
            "beside the reports."
        )
    return found


def _cells(path: Path) -> Iterator[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _view(text: str) -> str:
    if text in FRONTAL or not text:
        return text
    return "LATERAL"


def _age(cells: dict[str, str]) -> float | None:
    born, seen = cells.get("Patient's Birth Date") or "", cells.get("Study Date") or ""
    if len(born) != 8 or len(seen) != 8 or not (born + seen).isdigit():
        return None
    whole = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
    return years(str(whole))
