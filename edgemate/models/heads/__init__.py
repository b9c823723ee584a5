"""Heads: the classifiers of the exits, from a feature map to logits. One kind per file."""
