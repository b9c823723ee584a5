"""`python -m edgemate` is the `edgemate` command."""

from edgemate.cli.main import main

main()
