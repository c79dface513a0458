"""Measurements: `python -m bench.NAME [--quick] [--json FILE]`. Ratios within one run, alternating, medians."""

import worker  # noqa: F401  the bare loop gets what the workers set before numpy is imported
