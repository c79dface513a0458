"""The classifier: decompose, transfer, compose. Knows of the system only its pixels (cxrscreen.imaging)."""

import os

# Read by OpenMP when torch is first imported. Threads that spin while they wait make a busy machine many times slower:
# measured on two cores beside one other busy process, 5 images a second in training against 25.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
