"""cxrscreen screens archives of chest X-rays overnight. Decision support for research and triage, not a diagnosis."""

__version__ = "0.1.0"
