"""What programs may ask: JSON over HTTP, with a token, as the OpenAPI document at /api/v1/openapi.json tells.

Reading and queueing; what a person has to look at first (verdicts, thresholds, activation, deletion) stays with the
pages. Whole files come in by the upload protocol (docs/uploads.md), which takes the same tokens.
"""

from __future__ import annotations

from dashboard.api import jobs, models, studies
from dashboard.api.contract import blueprint

__all__ = ["blueprint", "jobs", "models", "studies"]
