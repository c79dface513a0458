"""Class folders: covid/, normal/, pneumonia/, as they are or beneath train/, val/ and test/.

A patient is a folder beneath a class folder, or what a pattern finds in the path, or else nobody knows: then each file
counts as a patient of its own, and only the search for copies can tell that two of them belong together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from models.errors import IndexInvalid
from models.indexes.rows import Found, Options, Row

LABELS = {
    "covid": "covid", "covid19": "covid", "covidpositive": "covid", "sarscov2": "covid",
    "normal": "normal", "nofinding": "normal", "nofindings": "normal", "healthy": "normal",
    "pneumonia": "pneumonia", "viralpneumonia": "pneumonia", "bacterialpneumonia": "pneumonia",
    "pneumoniaviral": "pneumonia", "pneumoniabacterial": "pneumonia", "otherpneumonia": "pneumonia",
}  # fmt: skip
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# A file of another suffix is no picture; DICOM files often have none.
SUFFIXES = {"", ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".jp2", ".j2k"}
# Folders of a class folder that are no patients.
PLAIN = {"images", "image", "img", "imgs"}
ASIDE = {"masks", "mask"}


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def fits_folder(folder: Path) -> bool:
    names = {_key(entry.name): entry for entry in _folders(folder)}
    if any(name in LABELS for name in names):
        return True
    inner = [entry for name, entry in names.items() if name in SPLIT_NAMES]
    return any(_key(entry.name) in LABELS for split in inner for entry in _folders(split))


def read(path: Path, options: Options) -> Found:
    if not path.is_dir():
        raise IndexInvalid(f"{path} is no folder of class folders.")
    pattern = _pattern(options.patient)
    found, guessed = Found(), 0
    root = options.images or path
    tops = _folders(root)
    splits = [entry for entry in tops if _key(entry.name) in SPLIT_NAMES]
    if splits and (stray := next((e for e in tops if e not in splits and _key(e.name) in LABELS), None)):
        raise IndexInvalid(f"{path}: the class folder {stray.name} stands beside {splits[0].name}, in no split.")
    for split in splits or [root]:
        for folder in _folders(split):
            label = LABELS.get(_key(folder.name))
            if label is None:
                if not options.partial:
                    raise IndexInvalid(
                        f"{path}: unknown label {str(folder.relative_to(root))!r}; known are covid, normal, pneumonia."
                    )
                found.left_out[f"unknown label {folder.name}"] += sum(1 for _ in _files(folder))
                continue
            for file in _files(folder):
                if file.suffix.lower() not in SUFFIXES:
                    found.left_out["not a picture"] += 1
                    continue
                name = file.relative_to(root).as_posix()
                inside = [part for part in file.relative_to(folder).parts[:-1] if part.lower() not in PLAIN]
                if any(part.lower() in ASIDE for part in inside):
                    found.left_out["a mask"] += 1
                    continue
                patient = _patient(path, name, pattern, inside)
                guessed += patient is None
                alone = str(Path(name).with_suffix(""))
                part = SPLIT_NAMES[_key(split.name)] if splits else ""
                found.rows.append(Row(file, name, label, patient or alone, path.resolve().name, part))
    if guessed:
        found.notes.append(
            f"{path}: patients are unknown for {guessed} pictures; each counts as a patient of its own, so figures may "
            "be too good. Put a patient's pictures in a folder of their own, or give a pattern (--patient)."
        )
    return found


def _pattern(typed: str) -> re.Pattern[str] | None:
    try:
        pattern = re.compile(typed) if typed else None
    except re.error as error:
        raise IndexInvalid(f"The pattern {typed!r} of the patient is not valid: {error}.") from None
    if pattern is not None and pattern.groups < 1:
        raise IndexInvalid(f"The pattern {typed!r} of the patient has no group in brackets.")
    return pattern


def _patient(path: Path, name: str, pattern: re.Pattern[str] | None, inside: list[str]) -> str | None:
    if pattern is None:
        return inside[0] if inside else None
    match = pattern.search(name)
    if match is None or not match.group(1):
        raise IndexInvalid(f"{path}: the pattern {pattern.pattern!r} finds no patient in {name}.")
    return match.group(1)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise IndexInvalid(f"{folder} cannot be read: {error.strerror or error}.") from None


def _files(folder: Path) -> Iterator[Path]:
    """Every file beneath a folder but the hidden ones, in an order that is the same everywhere."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(place) / name
