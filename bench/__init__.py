"""Measurements: `python -m bench.NAME [--quick] [--json FILE]`. Ratios within one run, alternating, medians."""
