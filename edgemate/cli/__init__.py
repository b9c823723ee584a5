"""The `edgemate` command, one file per subcommand."""
