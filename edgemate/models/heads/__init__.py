"""Heads: what stands at an exit, from a feature map to logits. One kind per file."""
