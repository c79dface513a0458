"""What a worker does with the memory of pictures that are done."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from cxrscreen.imaging import memory
from worker import runtime

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        first, second = np.ones(20 << 20, np.uint8), np.ones(20 << 20, np.uint8)
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

memory.keep_freed(runtime.KEPT_BYTES, runtime.MAPPED_FROM)
faults()
print(faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_the_next_picture_has_the_memory_of_the_last() -> None:
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 20  # of some 200,000 pages
