"""The process that reads damaged files, one after the other, and says what came of each; it may be killed at any time.

python -m bench.fuzz_child SEED FOLDER [DATA]      numbers on standard input, a JSON line for each on the output
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from bench import fuzz_seeds
from bench.fuzz_mutations import mutated
from cxrscreen.imaging import Limits, Reason, Rejected, decode, frames, prepare, walk

ADDRESS_SPACE = 4 << 30  # a runaway allocation ends in MemoryError, not in the machine's swap
LIMITS = Limits(max_entry_bytes=1 << 20)


class Corpus:
    """The seeds, and the damaged file of each number: always the same one for a seed and a number."""

    def __init__(self, seed: int, data: Path | None) -> None:
        self.seed = seed
        self.files = {name: make() for name, make in (fuzz_seeds.PICTURES | fuzz_seeds.ARCHIVES).items()}
        self.files |= fuzz_seeds.real(data / "dicom") if data else {}
        self.names = list(self.files)

    def damaged(self, number: int) -> tuple[str, bytes]:
        rng = random.Random(f"{self.seed} {number}")
        name = self.names[number % len(self.names)]
        return name, mutated(self.files[name], rng, self.files[rng.choice(self.names)])


def end_of_picture(data: bytes) -> str:
    """How a file ends: `read`, or the reason. Raises AssertionError where an answer is none."""
    try:
        for one in prepare(data):
            assert (one.derivative is None) != (one.refused is None)
            assert one.derivative is None or max(decode(one.derivative).shape) <= 512
        for frame in frames(data):
            assert frame.display().shape == frame.stored.shape and frame.facts.public()
    except Rejected as refused:
        assert refused.reason in Reason and len(str(refused)) < 400
        return refused.reason.value
    return "read"


def end_of_file(path: Path, data: bytes, whole: int = 0) -> str:
    """How a file or its members end. Raises AssertionError where some of `whole` are gone without a word."""
    path.write_bytes(data)
    names = set()
    ends: Counter[str] = Counter()
    plain = refused_some = False
    for member in walk(path, "x", LIMITS):
        assert member.name not in names and "\0" not in member.name and member.name.encode()
        names.add(member.name)
        # What is not known for an archive, packed or not, is a file like any other.
        plain |= member.path is not None or member.name == "x/x"
        refused_some |= member.refused is not None
        try:
            end = end_of_picture(member.read())
        except Rejected as refused:
            end = refused.reason.value
        ends[end] += 1
    assert names, "a file without any entry"
    assert len(names) >= whole or refused_some or plain, f"{whole - len(names)} members vanished"
    return "+".join(sorted(ends))


def least_entries(name: str, data: bytes, whole: int) -> int:
    """How many members must be told of. A hole over the last ones of a plain tar leaves a valid shorter tar."""
    if name not in ("tar", "tar-gnu"):
        return whole
    return sum(member.encode() in data for member, _ in fuzz_seeds.members())


def main() -> None:
    seed, folder = int(sys.argv[1]), Path(sys.argv[2])
    corpus = Corpus(seed, Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    whole = {}
    for name in corpus.names:  # so every decoder is loaded before memory is measured
        end_of_file(folder / "x", corpus.files[name])
        whole[name] = sum(1 for _ in walk(folder / "x", "x", LIMITS))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    print(json.dumps({"ready": True, "peak_kb": _peak()}), flush=True)
    for line in sys.stdin:
        number = int(line)
        name, data = corpus.damaged(number)
        began, trouble, end = time.monotonic(), None, ""
        try:
            end = end_of_file(folder / "x", data, least_entries(name, data, whole[name]))
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        told = {"number": number, "kind": name, "end": end, "trouble": trouble, "seconds": time.monotonic() - began}
        print(json.dumps(told | {"peak_kb": _peak()}), flush=True)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
