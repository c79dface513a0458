"""The Celery side: thin tasks over the queries of cxrscreen and the pixels and networks of the leaf rooms."""

import os

# Read by OpenBLAS when numpy is first imported, which is after this. Its threads spin on for tens of milliseconds after
# each small product, beside decoders and a network that want the cores: an eighth of what rescreening took was that.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
