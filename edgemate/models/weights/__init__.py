"""Weights that a recipe asks for: a library's, those of a file, or those of another run."""
