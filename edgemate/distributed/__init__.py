"""Training by several processes: which of them this is, what it does of a batch, and what they agree on."""
