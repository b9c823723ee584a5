"""The network outside of the student that `distillation.teacher` names: checked, loaded and run.

`reference` imports no torch, so that a recipe can be checked early.
"""
