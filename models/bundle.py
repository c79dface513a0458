"""A trained model in a folder: `bundle.json` says what it is, `model.safetensors` holds its numbers.

Loading runs no code.
The record's fields are a contract: the registry, the pages and the reports read them without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError

from cxrscreen.imaging import PREPROCESSING
from models.compose import Composition
from models.device import pick_device
from models.errors import BundleError, OptionsInvalid
from models.explain import has_map, pack, to_heat, uncropped
from models.images import Pixels, stack
from models.running import features
from models.running.engine import Engine, TorchEngine, choose
from models.running.likeness import Likeness
from models.running.passes import Floats, Pass
from models.transfer import Network, channels_last, glance_width

__all__ = ["FORMAT", "BundleError", "Predictions", "Screener", "load", "save"]

FORMAT = "cxrscreen-bundle/3"
# A picture of which less is left is none.
MOST_CROP = 0.4
# The second format knew no crop.
READ = ("cxrscreen-bundle/2", FORMAT)
RECORD, WEIGHTS = "bundle.json", "model.safetensors"


@dataclass(frozen=True)
class Predictions:
    """What a model says of N pictures. `score` is P(positive class); `distance` is None without a gate."""

    subclass_p: npt.NDArray[np.float32]  # [N, S]
    class_p: npt.NDArray[np.float32]  # [N, C]
    score: npt.NDArray[np.float32]  # [N]
    label: list[str]
    subclass: list[str]
    distance: npt.NDArray[np.float32] | None  # [N]
    heat: list[bytes | None]
    features: list[bytes]  # of each picture, to be kept (models.running.features); empty where they cannot be


class Screener:
    """A bundle, ready to screen. Each picture's answer depends on that picture alone, whatever it is batched with."""

    def __init__(self, record: dict[str, Any], network: Network, likeness: Likeness | None) -> None:
        self.record = record
        self.composition = _composition(record)
        self.network = channels_last(network.eval())
        self.likeness = likeness
        self.size, self.crop = int(record["input_size"]), float(record.get("crop", 0.0))
        self.space = features.space_of(record, network)
        self.whole = Pass(
            self.network,
            record["mean"],
            record["std"],
            self.composition.members(record["positive"]),
            float(record["temperature"]),
            has_map(network, self.size),
        )
        self.engine: Engine = TorchEngine(self.whole)

    def quicken(self, wanted: str, threads: int, streams: int, remember: Path | None = None) -> None:
        """Run on the quickest engine of this machine from now on (models.running.engine.choose)."""
        key = str(self.record["weights"]["sha256"])
        self.engine = choose(wanted, self.whole, self.size, threads, streams, remember, key)

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Screen derivatives, uint8 (H, W) of any size, as cxrscreen.imaging.decode gives them."""
        return self.predict_inputs(stack(images, self.size, self.crop))

    def predict_inputs(self, inputs: torch.Tensor) -> Predictions:
        """The same of pictures that are already inputs, uint8 [N, 1, S, S]."""
        parts = [self.engine(chunk) for chunk in torch.split(inputs, self.engine.chunk)] if len(inputs) else []
        if not parts:
            return self._predictions(np.zeros((0, len(self.composition.subclasses)), np.float32), None, [], [])
        logits, glance = (np.concatenate(part) for part in zip(*((p.logits, p.glance) for p in parts), strict=True))
        heat: list[bytes | None] = []
        for said in parts:
            if said.evidence is None:
                heat += [None] * len(said.logits)
            else:
                evidence = uncropped(torch.from_numpy(said.evidence), self.crop)
                heat += [pack(one) for one in to_heat(evidence, self.record["heat_scale"])]
        return self._predictions(logits, glance, heat, [kept for said in parts for kept in features.pack(said)])

    def predict_features(self, kept: Sequence[bytes]) -> Predictions:
        """The same from the features of pictures (models.running.features) that lie in this bundle's space; no maps.

        Raises ValueError where they do not fit.
        """
        pooled, glance = features.unpack(kept, self.network.head.in_features)
        logits = features.logits_of(pooled, self.network.head)
        return self._predictions(logits, glance, [None] * len(kept), list(kept))

    def _predictions(
        self, logits: Floats, glance: Floats | None, heat: list[bytes | None], kept: list[bytes]
    ) -> Predictions:
        subclass_p = (torch.from_numpy(logits) / float(self.record["temperature"])).softmax(dim=1).numpy()
        class_p = self.composition.probabilities(subclass_p)
        label, subclass = self.composition.decide(subclass_p)
        distance = None
        if self.likeness is not None:
            distance = np.zeros(0, np.float32) if glance is None else self.likeness.distance(glance)
        score = class_p[:, self.composition.classes.index(self.record["positive"])]
        return Predictions(subclass_p, class_p, score, label, subclass, distance, heat, kept)

    def unlike(self, distance: float) -> bool:
        """Whether a picture at this distance is unlike anything seen in training, and so gets no score."""
        limit = self.record["distance_limit"]
        return limit is not None and distance > limit


def save(folder: Path, record: Mapping[str, Any], network: Network, likeness: Likeness | None,
         more: Mapping[str, npt.NDArray[Any]]) -> Path:  # fmt: skip
    """Write a bundle; the record comes last, so a folder with a record is whole. Equal models give equal bytes.

    `record` is everything but `format`, `weights` and `feature_space`; `more` are further arrays that are kept beside
    the weights.
    """
    record = {**record, "feature_space": features.space_of(record, network)}
    tensors = {f"network.{name}": tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    if likeness is not None:
        tensors |= {f"likeness.{name}": torch.from_numpy(a) for name, a in likeness.to_arrays().items()}
    tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in more.items()}
    data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    whole = {"format": FORMAT, **record, "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(data).hexdigest()}}
    text = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for name, content in ((WEIGHTS, data), (RECORD, text.encode())):
        fresh = folder / f".{name}.new"
        fresh.write_bytes(content)
        fresh.replace(folder / name)
    return folder


def load(folder: Path, device: str = "cpu") -> Screener:
    """Read a bundle. Raises BundleError with one line that says what is wrong with it."""
    record = _read_record(folder)
    tensors = _read_weights(folder, record)
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "likeness": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    try:
        network = Network(str(record["backbone"]), len(record["subclasses"]), stride=record["output_stride"])
    except OptionsInvalid as error:
        raise BundleError(f"The bundle {folder} cannot be built: {error}") from None
    _fill(folder, network, parts["network"])
    likeness = None
    if record["distance_limit"] is not None:
        try:
            arrays = {name: tensor.float().numpy() for name, tensor in parts["likeness"].items()}
            likeness = Likeness.from_arrays(arrays)
        except (KeyError, ValueError) as error:
            raise BundleError(f"The bundle {folder} has a distance limit but no whole gate: {error}.") from None
        if len(likeness.mean) != glance_width(network, int(record["input_size"])):
            raise BundleError(f"The bundle {folder} has a distance gate of another network.")
    screener = Screener(record, network.to(pick_device(device)), likeness)
    if record.get("feature_space", screener.space) != screener.space:
        raise BundleError(f"The bundle {folder} does not hold the backbone that its feature_space names.")
    return screener


_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "backbone": str, "output_stride": int, "classes": list, "subclasses": list, "positive": str,
    "input_size": int, "mean": (int, float), "std": (int, float), "preprocessing": str, "threshold": (int, float),
    "temperature": (int, float), "heat_scale": (int, float), "distance_limit": (int, float, type(None)),
    "phantom": bool, "weights": dict,
}  # fmt: skip


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        raise BundleError(f"{folder} is no bundle: it has no {RECORD}.")
    try:
        record = json.loads(path.read_bytes(), parse_constant=_refuse)
    except ValueError as error:
        raise BundleError(f"{path} is not the JSON of a bundle: {error}.") from None
    if not isinstance(record, dict) or record.get("format") not in READ:
        found = record.get("format") if isinstance(record, dict) else None
        raise BundleError(f"The bundle {folder} has format {found!r}; this program reads {FORMAT!r}.")
    for name, kind in _KINDS.items():
        if name not in record:
            raise BundleError(f"{path} lacks {name}.")
        if not isinstance(record[name], kind) or (isinstance(record[name], bool) and kind is not bool):
            raise BundleError(f"{path}: {name} is {record[name]!r}, which cannot be.")
    if record["preprocessing"] != PREPROCESSING:
        raise BundleError(
            f"The bundle {folder} was trained on pixels prepared by {record['preprocessing']!r}; "
            f"this program prepares them by {PREPROCESSING!r}."
        )
    if not all(record[name] > 0 for name in ("std", "temperature", "heat_scale")):
        raise BundleError(f"{path}: std, temperature and heat_scale are above 0.")
    crop = record.get("crop", 0.0)
    if not isinstance(crop, int | float) or not 0 <= crop < MOST_CROP:
        raise BundleError(f"{path}: crop is {crop!r}; it lies between 0 and {MOST_CROP}.")
    if not 8 <= record["input_size"] <= 4096:
        raise BundleError(f"{path}: input_size is between 8 and 4096, not {record['input_size']}.")
    try:
        composition = _composition(record)
        composition.members(record["positive"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: classes and subclasses do not fit together: {error}.") from None
    return record


def _read_weights(folder: Path, record: dict[str, Any]) -> dict[str, torch.Tensor]:
    name = str(record["weights"].get("file"))
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise BundleError(f"The bundle {folder} has no weights file {name}.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != record["weights"].get("sha256"):
        raise BundleError(f"{path} is not the file that {RECORD} names: its SHA-256 differs.")
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"{path} is no safetensors file: {error}.") from None


def _fill(folder: Path, network: Network, given: dict[str, torch.Tensor]) -> None:
    own = network.state_dict()
    if odd := sorted(own.keys() ^ given.keys()):
        side = "lacks" if odd[0] in own else "has no place for"
        raise BundleError(f"The bundle {folder} does not hold a {network.backbone}: it {side} {odd[0]}.")
    for name, tensor in own.items():
        if given[name].shape != tensor.shape:
            raise BundleError(
                f"The bundle {folder} does not hold a {network.backbone}: {name} is {tuple(given[name].shape)}, "
                f"not {tuple(tensor.shape)}."
            )
    network.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in given.items()})


def _composition(record: Mapping[str, Any]) -> Composition:
    classes = tuple(record["classes"])
    parents = tuple(classes.index(one["class"]) for one in record["subclasses"])
    return Composition(classes, tuple(one["name"] for one in record["subclasses"]), parents)


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}")
