"""`python -m cuecard` is `cuecard`."""

from cuecard.cli.main import main

main()
