"""Distillation methods, one objective per file. `edgemate/registry.py` names them; `Method` is what they subclass."""
