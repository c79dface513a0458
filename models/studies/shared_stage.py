"""A checkpoint whose first stage several trainings share: what differs between them begins after it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from models.learning.checkpoint import Checkpoint

# A stage larger than this is not kept for later rows: AlexNet and VGG would fill a disk.
KEPT_BYTES = 96 * 2**20
FIRST = "backbone"


class SharedStage(Checkpoint):
    """Stages under `folder`, each in a folder named by what it depends on.

    `first` is what the backbone's stage depends on, a part of `belongs_to`. `remove` drops the second stage, and keeps
    the first where it is small.
    """

    def __init__(self, folder: Path, belongs_to: dict[str, Any], first: dict[str, Any]) -> None:
        self.shared = Checkpoint(folder / key(first), first)
        super().__init__(folder / key(belongs_to), belongs_to)

    def read(self, stage: str) -> dict[str, Any] | None:
        return self.shared.read(stage) if stage == FIRST else super().read(stage)

    def write(self, stage: str, state: dict[str, Any]) -> None:
        if stage == FIRST:
            self.shared.write(stage, state)
        else:
            super().write(stage, state)

    def remove(self) -> None:
        super().remove()
        made = self.shared.folder / f"{FIRST}.pt"
        if made.exists() and made.stat().st_size > KEPT_BYTES:
            self.shared.remove()

    def forget(self) -> None:
        """Drop both stages."""
        super().remove()
        self.shared.remove()


def key(of: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:16]


def digest(path: Path) -> str:
    """SHA-256 of a weights file; of its name where there is none, which the training will say better."""
    return hashlib.sha256(path.read_bytes() if path.is_file() else str(path).encode()).hexdigest()
