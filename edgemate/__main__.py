"""`python -m edgemate` is the `edgemate` command."""

from edgemate.cli.start import main

main()
