"""Where a training stands, in OUT/checkpoint, so that the same command goes on where it was interrupted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import torch

from models.errors import OptionsInvalid


class Checkpoint:
    """One file for each stage, and `of.json`: the training it belongs to. `every` counts epochs between writes."""

    def __init__(self, folder: Path, belongs_to: dict[str, Any], every: int = 5) -> None:
        self.folder, self.every = folder, every
        mine = json.dumps(belongs_to, sort_keys=True, default=str)
        told = folder / "of.json"
        if told.exists() and told.read_text() != mine:
            changed = _difference(json.loads(told.read_text()), json.loads(mine))
            raise OptionsInvalid(
                f"{folder} holds an unfinished training with other settings ({changed}); finish that one, "
                "choose another --out, or remove the folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        if not told.exists():
            told.write_text(mine)

    def read(self, stage: str) -> dict[str, Any] | None:
        """What was written last; None when nothing was, or it cannot be read any more."""
        path = self.folder / f"{stage}.pt"
        if not path.exists():
            return None
        try:
            return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
        except Exception:  # half a file, after a full disk say, fails in many ways: the stage begins again
            return None

    def write(self, stage: str, state: dict[str, Any]) -> None:
        path = self.folder / f"{stage}.pt"
        fresh = path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(path)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)} instead of {now.get(name)}" for name in names)[:300]
