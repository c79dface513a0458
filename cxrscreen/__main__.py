"""`python -m cxrscreen` is `cxrscreen`."""

from cxrscreen.cli import main

main()
