"""Where the commands write: answers to one stream, progress and complaints to the other."""

from __future__ import annotations

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

NOTICE = "Decision support for research and triage, not a medical device."
