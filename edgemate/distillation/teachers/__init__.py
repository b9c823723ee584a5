"""The network outside of the student that `distillation.teacher` names: checked, loaded and run.

`reference` and `requirement` import no torch, so that a recipe can be checked early.
"""
