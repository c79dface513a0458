"""timm, imported so that it also works beside a CPU-only torch. Nobody else here imports timm or torchvision.

PyPI's torchvision is compiled against the CUDA build of torch; beside a CPU-only one its operators cannot load, and
the import then fails with "operator torchvision::nms does not exist", since it describes two operators that nobody
defined. timm needs the import, and nothing here calls those two: so their schemas are defined first, without a body.

Both also import torch's compiler (torch._dynamo, with sympy and the sharding of torch.distributed), torchvision for a
question and timm for a mark that keeps code out of it. Nothing here compiles, and it would take each process that
screens more than a second of its processor and 66 MB: so two modules stand in its place until timm is there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def operators_load() -> bool:
    """Whether torchvision's compiled operators can be loaded; found out without importing torchvision."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # no torchvision at all: its own ImportError says so best
    library = next(Path(spec.origin).parent.glob("_C*.so"), None)
    try:
        if library is not None:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return library is not None


def _define_schemas() -> torch.library.Library | None:
    if operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


# The definitions live as long as this object.
_LIBRARY = _define_schemas()


class _StandIn(ModuleType):
    """Answers what is known of the compiler; whoever asks it for more gets the real one."""

    def __getattr__(self, name: str) -> Any:
        # Who lists modules asks each for its file; who imports a module inside of this one asks for its path.
        if name.startswith("__") and (self.__name__, name) != ("torch._dynamo", "__path__"):
            raise AttributeError(name)
        _let_compiler_in()
        return getattr(importlib.import_module(self.__name__), name)


def _keep_compiler_out() -> None:
    if "torch._dynamo" in sys.modules:  # somebody has paid for it already
        return
    compiler, utils = _StandIn("torch._dynamo"), _StandIn("torch._dynamo.utils")
    compiler.disable = lambda function, *_, **__: function  # type: ignore[attr-defined]
    utils.is_compile_supported = lambda _device: False  # type: ignore[attr-defined]
    sys.modules |= {compiler.__name__: compiler, utils.__name__: utils}


def _let_compiler_in() -> None:
    for name in ("torch._dynamo", "torch._dynamo.utils"):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


_keep_compiler_out()

import timm  # noqa: E402
from timm.models import group_parameters, register_model  # noqa: E402
from timm.utils.model_ema import ModelEmaV3  # noqa: E402
from torchvision.models import AlexNet_Weights  # noqa: E402
from torchvision.models import alexnet as torchvision_alexnet  # noqa: E402

_let_compiler_in()

__all__ = [
    "ModelEmaV3",
    "group_parameters",
    "jpeg_decoder",
    "register_model",
    "timm",
    "torchvision_alexnet",
    "torchvision_alexnet_weights",
]


def torchvision_alexnet_weights() -> Mapping[str, torch.Tensor]:
    """The published ImageNet weights, fetched once; raises OSError where they cannot be."""
    state: Mapping[str, torch.Tensor] = AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
    return state


def jpeg_decoder() -> Callable[[list[torch.Tensor], torch.device], list[torch.Tensor]]:
    """Decodes JPEG files, each its bytes as uint8 [B] in host memory, to grey pictures [1, H, W] on a card, by nvJPEG.

    Raises RuntimeError where torchvision was built without it.
    """
    if not operators_load():
        raise RuntimeError("torchvision's operators do not load here")
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        made: list[torch.Tensor] = decode_jpeg(files, mode=ImageReadMode.GRAY, device=device)
        return made

    return decode
