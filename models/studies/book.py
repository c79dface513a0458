"""The finished rows of a study: DIR/results.json, and each row's answers on the test split in DIR/scores."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import OptionsInvalid
from models.studies.measures import Scored

RESULTS = "results.json"
# What an interrupted first row leaves.
OWN = ("stages", "scores")


class Book:
    """Rows by name, in the order they were finished. Raises OptionsInvalid where DIR is of something else."""

    def __init__(self, folder: Path, study: str) -> None:
        self.folder, self.study = folder, study
        if folder.exists() and not folder.is_dir():
            raise OptionsInvalid(f"{folder} is a file; --out names a folder.")
        self.path = folder / RESULTS
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.rows = self._read()
        elif folder.is_dir() and any(one.name not in OWN for one in folder.iterdir()):
            raise OptionsInvalid(f"{folder} holds something else than a study; name a new or an empty folder.")
        (folder / "scores").mkdir(parents=True, exist_ok=True)

    def __contains__(self, name: str) -> bool:
        return name in self.rows and self._scores(name).exists()

    def require(self, name: str, settings: Mapping[str, Any]) -> None:
        """Raises OptionsInvalid where a finished row of that name was made with other settings."""
        if name not in self.rows:
            return
        before, now = self.rows[name]["settings"], _plain(settings)
        changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
        if changed:
            raise OptionsInvalid(
                f"{self.folder} holds {name!r} with other settings ({', '.join(changed)}); choose another --out."
            )

    def twin(self, settings: Mapping[str, Any]) -> str | None:
        """The name of a finished row with equal settings."""
        wanted = _plain(settings)
        return next((name for name, row in self.rows.items() if row["settings"] == wanted and name in self), None)

    def add(self, name: str, row: Mapping[str, Any], answers: Scored) -> None:
        path = self._scores(name)
        fresh = path.with_suffix(".new.npz")
        np.savez_compressed(fresh, p=answers.p, threshold=answers.threshold)
        fresh.replace(path)
        self.rows[name] = _plain(row)
        self.write()

    def copy(self, twin: str, name: str, facts: Mapping[str, Any]) -> None:
        """A row that would come out as `twin` did."""
        self.add(name, {**self.rows[twin], **facts, "same_as": twin, "seconds": 0.0}, self.answers(twin))

    def answers(self, name: str) -> Scored:
        with np.load(self._scores(name)) as held:
            return Scored(held["p"], float(held["threshold"]))

    def of_group(self, group: str) -> dict[int, str]:
        """The finished rows of a group: names by seed."""
        return {row["seed"]: name for name, row in self.rows.items() if row["group"] == group and name in self}

    def write(self, **more: Any) -> None:
        """Write the rows, with what else is to be told about all of them."""
        fresh = self.path.with_suffix(".new")
        told = {"study": self.study, **more, "rows": self.rows}
        fresh.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        fresh.replace(self.path)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            held = json.loads(self.path.read_text())
            study, rows = held["study"], dict(held["rows"])
        except (ValueError, KeyError, TypeError):
            raise OptionsInvalid(f"{self.path} is no record of a study; name a new or an empty folder.") from None
        if study != self.study:
            raise OptionsInvalid(f"{self.folder} holds the study {study!r}; choose another --out.")
        return rows

    def _scores(self, name: str) -> Path:
        return self.folder / "scores" / (re.sub(r"[^\w.]+", "-", name) + ".npz")


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read back from the file."""
    read: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return read
