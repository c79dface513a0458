"""The classifier: decompose, transfer, compose. Knows of the system only its pixels (cxrscreen.imaging)."""
