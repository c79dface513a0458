"""A bundle at half its size, for shipping: `python -m models.compact BUNDLE OUT`.

The network's weights are kept in 16 bits (IEEE 754 binary16) and computed with in 32, as loading casts them back.
Everything else, the distance gate among it, stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from models import bundle


def compact(source: Path, target: Path) -> Path:
    """Write `source` to `target` with halved weights; raises BundleError where `source` is no bundle."""
    record = dict(bundle.load(source).record)
    tensors = safetensors.torch.load((source / record["weights"]["file"]).read_bytes())
    halved = {
        name: tensor.half() if name.startswith("network.") and tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    data = safetensors.torch.save(halved)
    record["weights"] = {"file": bundle.WEIGHTS, "sha256": hashlib.sha256(data).hexdigest()}
    target.mkdir(parents=True, exist_ok=True)
    (target / bundle.RECORD).unlink(missing_ok=True)
    (target / bundle.WEIGHTS).write_bytes(data)
    # Rounded weights see something else: their features lie in a space of their own.
    record.pop("feature_space", None)
    _write(target, record)
    _write(target, record | {"feature_space": bundle.load(target).space})
    return target


def _write(target: Path, record: dict[str, Any]) -> None:
    (target / bundle.RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    compact(Path(sys.argv[1]), Path(sys.argv[2]))
