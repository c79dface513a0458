"""COVIDx lists of lindawangg/COVID-Net: lines of patient, file, class and source, parted by blanks.

From version 8B on their classes are "positive" and "negative". A negative may be a normal chest or a pneumonia; the
table of the RSNA challenge (stage_2_detailed_class_info.csv) beside the list or the pictures tells which.
"""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import IndexInvalid
from models.indexes.rows import CLASSES, Found, Options, Row, columns, first_existing, require_columns, table

LABELS = {"positive": "covid", "covid-19": "covid", "covid": "covid", "normal": "normal", "pneumonia": "pneumonia"}
NEGATIVE = "negative"
RSNA = "stage_2_detailed_class_info.csv"
RSNA_LABELS = {"normal": "normal", "lung opacity": "pneumonia"}
NEITHER, EITHER = "negative, and neither normal nor an opacity", "negative: normal or pneumonia?"
_SPLIT = re.compile(r"(train|val|test)", re.IGNORECASE)


def fits_line(line: str) -> bool:
    return _parts(line) is not None


def fits_folder(folder: Path) -> bool:
    return bool(_lists(folder))


def read(path: Path, options: Options) -> Found:
    if options.negative and options.negative not in CLASSES:
        raise IndexInvalid(f"Negatives cannot stand for {options.negative!r}; known are {', '.join(CLASSES)}.")
    found = Found()
    lists = _lists(path) if path.is_dir() else [path]
    for file in lists:
        match = _SPLIT.match(file.name)
        _read_list(file, match.group(1).lower() if match else "", _rsna(file, options), options, found)
    return found


def _lists(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.txt")) if _SPLIT.match(file.name) and fits_line(_first_line(file))]


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(4096)


def _parts(line: str) -> tuple[str, str, str, str] | None:
    """Patient, file, class, source of a line; the file's name may hold blanks. None where no class is in its place."""
    words = line.split()
    for place in (len(words) - 2, len(words) - 1):
        if place >= 2 and words[place].lower() in (*LABELS, NEGATIVE):
            source = words[place + 1] if place + 1 < len(words) else "unknown"
            return words[0], " ".join(words[1:place]), words[place].lower(), source
    return None


def _read_list(path: Path, split: str, rsna: dict[str, str], options: Options, found: Found) -> None:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IndexInvalid(f"{path} cannot be read as lines of UTF-8 text: {error}.") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = _parts(line)
        if parts is None:
            words = line.split()
            if len(words) < 3:
                raise IndexInvalid(f"{path}, line {number}: a line has patient, file, class and source.")
            raise IndexInvalid(
                f"{path}, line {number}: unknown label {words[2]!r}; known are {', '.join((*LABELS, NEGATIVE))}."
            )
        patient, name, word, source = parts
        label = LABELS.get(word) or rsna.get(patient) or ("" if patient in rsna else options.negative)
        if not label:
            found.left_out[NEITHER if patient in rsna else EITHER] += 1
            continue
        places = (path.parent, path.parent.parent / "data")
        bases = (options.images,) if options.images else places
        where = first_existing(base / part / name for base in bases for part in (split, ""))
        found.rows.append(Row(where, name, label, f"{source}-{patient}", source, split))
    if unclear := found.left_out[EITHER]:
        found.notes.append(
            f"{path}: {unclear} negatives may be normal or pneumonia. Put RSNA's {RSNA} beside the list, or say "
            "which they are (--negative)."
        )


def _rsna(path: Path, options: Options) -> dict[str, str]:
    """Patient -> class of the RSNA table; empty text where its class is none of ours."""
    places = [path.parent / RSNA, *([options.images / RSNA] if options.images else [])]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return {}
    require_columns(file, columns(file), ("patientId", "class"))
    return {cells["patientId"]: RSNA_LABELS.get(cells["class"].lower(), "") for _, cells in table(file)}
