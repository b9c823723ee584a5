"""How thresholds are chosen: one solver per file, each from a stored split and a goal to a policy."""
