"""timm is imported in one place only, which makes it work beside a CPU-only torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import models

ROOM = Path(models.__file__).parent


def test_timm_and_torchvision_import_through_the_cure():
    code = "from models._torchvision import timm; import torchvision; print(timm.is_model('resnet18'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr


def test_nobody_else_in_the_room_imports_them():
    for path in ROOM.rglob("*.py"):
        if path.name == "_torchvision.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [n for n in names if n.split(".")[0] in ("timm", "torchvision")], path
