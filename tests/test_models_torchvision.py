"""timm is imported in one place only, which makes it work beside a CPU-only torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import models

ROOM = Path(models.__file__).parent


CODE = """
import sys
from models._torchvision import _keep_compiler_out, timm
import torchvision
assert timm.is_model("resnet18")
assert not {"torch._dynamo", "sympy"} & set(sys.modules)
_keep_compiler_out()
import torch._dynamo
assert torch._dynamo.disable(len) is len and not torch._dynamo.__spec__
assert torch._dynamo.reset.__module__ == "torch._dynamo"  # more than the stand-in knows
import torch._dynamo.config
assert torch._dynamo.__spec__ and torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
"""


def test_timm_and_torchvision_import_through_the_cure_and_the_compiler_when_it_is_wanted():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_nobody_else_in_the_room_imports_them():
    for path in ROOM.rglob("*.py"):
        if path.name == "_torchvision.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [n for n in names if n.split(".")[0] in ("timm", "torchvision")], path
