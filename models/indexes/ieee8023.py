"""metadata.csv of ieee8023/covid-chestxray-dataset: figures of papers, the first public COVID-19 radiographs.

Both generations of its findings are read: single words ("COVID-19", "Streptococcus") and, from mid-2020 on, paths
("Pneumonia/Viral/COVID-19").
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from models.indexes.rows import (
    NOT_FRONTAL,
    Found,
    Options,
    Row,
    columns,
    first_existing,
    require_columns,
    table,
    years,
)  # fmt: skip

NAME = "metadata.csv"
NEEDED = ("patientid", "finding", "view", "filename")
# Findings of the first generation that are pneumonias without saying so.
GERMS = {
    "sars", "mers", "mers-cov", "pneumocystis", "streptococcus", "klebsiella", "legionella", "varicella", "e.coli",
    "mycoplasma", "mycoplasma bacterial pneumonia", "chlamydophila", "lipoid", "influenza", "h1n1", "aspiration",
    "aspergillosis", "nocardia", "staphylococcus", "mrsa", "herpes", "swine-origin influenza a (h1n1) viral pneumonia",
}  # fmt: skip


def fits_header(line: str) -> bool:
    return set(NEEDED) <= {name.strip() for name in next(csv.reader([line]), [])}


def fits_folder(folder: Path) -> bool:
    return (folder / NAME).is_file() and set(NEEDED) <= set(columns(folder / NAME, errors="replace"))


def read(path: Path, options: Options) -> Found:
    index = path / NAME if path.is_dir() else path
    require_columns(index, columns(index, errors="replace"), NEEDED)
    found = Found()
    seen: set[Path] = set()
    # Broken letters stand in its notes, which nobody reads here.
    for _, cells in table(index, errors="replace"):
        if reason := _unusable(cells):
            found.left_out[reason] += 1
            continue
        label = label_of(cells["finding"])
        if label is None:
            found.left_out[f"finding {cells['finding'] or 'empty'}"] += 1
            continue
        row = _row(index, cells, label, options)
        if row.path in seen:
            found.left_out["listed twice"] += 1
            continue
        seen.add(row.path)
        found.rows.append(row)
    return found


def label_of(finding: str) -> str | None:
    """covid where any part begins with COVID-19, normal for "No Finding", pneumonia for every other pneumonia."""
    parts = [part.strip().lower() for part in re.split(r"[,/]", finding)]
    if any(part.startswith("covid-19") for part in parts):
        return "covid"
    if parts == ["no finding"]:
        return "normal"
    if any(part.startswith("pneumonia") or part in GERMS for part in parts):
        return "pneumonia"
    return None


def frontal(view: str) -> bool:
    """PA and AP, erect, supine or otherwise."""
    return bool(re.match(r"(PA|AP)\b", view.upper()))


def _unusable(cells: dict[str, str]) -> str:
    modality = cells.get("modality", "")
    if modality and modality.lower() != "x-ray":
        return f"modality {modality}"
    if not frontal(cells["view"]):
        return NOT_FRONTAL if cells["view"] else "the view is not stated"
    return "" if cells["filename"] else "no file is named"


def _row(index: Path, cells: dict[str, str], label: str, options: Options) -> Row:
    folder = cells.get("folder") or "images"
    base = options.images or index.parent
    file = cells["filename"]
    where = first_existing([base / folder / file, base / file, base / "images" / file])
    patient = cells["patientid"] or file
    age = years(cells.get("age", ""))
    return Row(
        where,
        f"{folder}/{file}",
        label,
        f"ieee8023-{patient}",
        "ieee8023",
        "",
        cells["view"],
        cells.get("sex", ""),
        age,
    )
