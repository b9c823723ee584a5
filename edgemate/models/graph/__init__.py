"""Any network as a backbone: traced by torch.fx, and cut along its graph.

`tracing` records the graph, `flattening` removes what depends on tensors' shapes, `cut_points` finds where it can be
cut, `classifier` finds the layers that give the logits, and `cutting` makes a `Backbone` of it.
"""
