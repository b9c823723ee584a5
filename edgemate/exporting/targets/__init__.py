"""Export targets, one per file: what a bundle is made for."""
