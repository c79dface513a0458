"""What runs the network: PyTorch anywhere, or OpenVINO on processors where it is quicker and says the same.

Which one is found out by measuring, once a machine and bundle; see docs/decisions/0011-engines-by-measurement.md.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from models.errors import OptionsInvalid
from models.running.card import CardEngine, HalfPass
from models.running.passes import Pass, Said

log = logging.getLogger(__name__)

# On a processor; on a graphics card. `torch` is the reference of both.
ENGINES = ("torch", "openvino", "card", "half")
# How far the probabilities of a quicker engine may lie from PyTorch's on the probe; a thousandth of a display's step.
AGREE = 1e-4
# The same for 16 bits on a graphics card, whose 32 are TensorFloat's 19 already.
AGREE_HALF = 5e-3
PROBE = 16
# Pictures handed over at once on a processor.
CHUNK = 32
TITLES = {"openvino": "OpenVINO", "card": "The graphics card's engine", "half": "The graphics card's 16-bit engine"}
# Pictures in one request: a small piece stays in the processor's cache, and no stream waits long for another's last.
PIECE = 4


class Engine(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def chunk(self) -> int:
        """Pictures that are worth handing over at once."""
        ...

    def __call__(self, inputs: torch.Tensor) -> Said:
        """Of pictures uint8 [N, 1, S, S]."""
        ...


class TorchEngine:
    name, chunk = "torch", CHUNK

    def __init__(self, whole: Pass) -> None:
        self.whole = whole.eval()
        self.device = next(whole.parameters()).device

    @torch.inference_mode()
    def __call__(self, inputs: torch.Tensor) -> Said:
        # Bytes cross to the device, a quarter of what normalised pictures would weigh.
        if self.device.type == "cuda":
            inputs = inputs.pin_memory()
        return Said(*(part.cpu().numpy() for part in self.whole(inputs.to(self.device, non_blocking=True))))


class OpenVinoEngine:
    """The traced pass, compiled for this processor in full precision. Raises whatever OpenVINO raises.

    `streams` pieces of a batch run side by side, each on one thread that waits for no other: measured against as many
    threads in one stream, that is a quarter quicker, and decoding beside it is not held up by threads that spin. The
    next piece goes to whichever is free: where decoding slows one of them down, the other takes over.
    """

    name, chunk = "openvino", CHUNK

    def __init__(self, whole: Pass, size: int, streams: int) -> None:
        # The front end is asked directly: `openvino.convert_model` reports its use over the network.
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        example = torch.zeros(2, 1, size, size, dtype=torch.uint8)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is on its way out of PyTorch, and still what this front end reads
            decoder = TorchScriptPythonDecoder(whole.eval(), example_input=(example,))
        front = FrontEndManager().load_by_framework("pytorch")
        model = front.convert(front.load(decoder))
        model.reshape([-1, 1, size, size])
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": streams, "NUM_STREAMS": streams}
        compiled = openvino.Core().compile_model(model, "CPU", options)
        self.queue = openvino.AsyncInferQueue(compiled, streams)
        self.queue.set_callback(_keep)

    def __call__(self, inputs: torch.Tensor) -> Said:
        pieces = torch.split(inputs, PIECE)
        said: Answers = {}
        for place, piece in enumerate(pieces):
            self.queue.start_async([piece.numpy()], (said, place))
        self.queue.wait_all()
        return Said(*(np.concatenate(part) for part in zip(*(said[n] for n in range(len(pieces))), strict=True)))


Answers = dict[int, list[npt.NDArray[np.float32]]]


def _keep(request: Any, call: tuple[Answers, int]) -> None:
    said, place = call
    # Copies: the request's own memory is written over by its next piece.
    said[place] = [np.array(tensor.data) for tensor in request.output_tensors]


def choose(
    wanted: str, whole: Pass, size: int, threads: int, streams: int, remember: Path | None = None, key: str = ""
) -> Engine:
    """The engine `wanted` ("auto": the quickest that agrees with PyTorch), for pictures of `size` pixels a side.

    PyTorch runs on `threads`, OpenVINO on as many `streams`; a graphics card has its own engines (models.running.card).

    `remember` is a JSON file of earlier measurements, looked up by `key` and what makes this machine. An engine that
    cannot be had or disagrees is passed over with a line in the log. Raises OptionsInvalid for a name not in ENGINES.
    """
    if wanted not in ("auto", *ENGINES):
        raise OptionsInvalid(f"There is no engine {wanted!r}; there are auto, {', '.join(ENGINES)}.")
    torch.set_num_threads(threads)
    reference = TorchEngine(whole)
    here = _offered(whole, size, streams)
    if wanted != "auto":
        here = {name: make for name, make in here.items() if name == wanted}
    if not here:
        return reference
    machine = f"{key} {size} {threads} {streams} {_machine(reference.device)} {os.cpu_count()} {torch.__version__}"
    known = _read(remember).get(machine, {}).get("engine") if wanted == "auto" else None
    if known == "torch":
        return reference
    probe = _probe(size)
    said = reference(probe)
    found: list[Engine] = [reference]
    for name, (make, agree) in here.items():
        if known in (None, name) and (engine := _agreeing(name, make, agree, said, probe)):
            found.append(engine)
    if wanted != "auto" or known or len(found) == 1:
        return found[-1]
    rates = {engine.name: _rate(engine, probe.repeat(engine.chunk // PROBE, 1, 1, 1)) for engine in found}
    chosen = max(found, key=lambda engine: rates[engine.name])
    log.info("Images a second: %s; %s is used", rates, chosen.name)
    _write(remember, machine, {"engine": chosen.name, "images_a_second": rates})
    return chosen


Offer = tuple[Callable[[], Engine], float]


def _offered(whole: Pass, size: int, streams: int) -> dict[str, Offer]:
    """What there is beside PyTorch for the device of `whole`, with how far its probabilities may lie apart."""
    if next(whole.parameters()).device.type != "cpu":
        return {
            "card": (lambda: CardEngine(whole, size), AGREE_HALF),
            "half": (lambda: CardEngine(HalfPass(whole), size), AGREE_HALF),
        }
    if importlib.util.find_spec("openvino") is None:
        return {}
    return {"openvino": (lambda: OpenVinoEngine(whole, size, streams), AGREE)}


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _agreeing(name: str, make: Callable[[], Engine], agree: float, said: Said, probe: torch.Tensor) -> Engine | None:
    try:
        engine = make()
        apart = _apart(said, engine(probe))
        if not apart <= agree:  # what is no number is not at most anything
            raise ArithmeticError(f"its probabilities lie up to {apart:.1e} from PyTorch's")
    except Exception as error:  # another release, another machine, a layer it does not know
        log.warning(
            "%s is not used: %s", TITLES.get(name, name), " ".join(str(error).split())[:300] or type(error).__name__
        )
        return None
    return engine


def _probe(size: int) -> torch.Tensor:
    """Pictures [PROBE, 1, S, S] with edges and flat parts, the same each time."""
    chance = torch.Generator().manual_seed(0)
    coarse = torch.rand(PROBE, 1, 7, 7, generator=chance)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def _apart(one: Said, other: Said) -> float:
    first, second = (torch.from_numpy(said.logits).softmax(dim=1) for said in (one, other))
    return float((first - second).abs().max())


def _rate(engine: Callable[[torch.Tensor], Any], probe: torch.Tensor) -> float:
    """Images a second, the best of three after one to warm up: what the engine can do, not what others let it."""
    engine(probe)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        engine(probe)
        seconds.append(time.perf_counter() - start)
    return round(len(probe) / min(seconds), 1)


def _read(remember: Path | None) -> dict[str, Any]:
    try:
        found = json.loads(remember.read_text()) if remember else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(remember: Path | None, machine: str, measured: dict[str, Any]) -> None:
    if remember is None:
        return
    try:
        remember.parent.mkdir(parents=True, exist_ok=True)
        fresh = remember.with_name(f".{remember.name}.{os.getpid()}")
        fresh.write_text(json.dumps(_read(remember) | {machine: measured}, indent=1) + "\n")
        fresh.replace(remember)
    except OSError as error:
        log.warning("The measurement is not kept: %s", error)
