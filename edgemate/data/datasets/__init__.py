"""One dataset per file: a factory that returns a `DataSource`, and beside it an optional `check_<name>`."""
