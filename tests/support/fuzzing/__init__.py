"""Structure-aware fuzzing: files that are nearly right, and one rule for what must come of them.

A case is a target, such as `manifest`, and a seed. It passes if the target ends in an answer or an EdgemateError
within the limits of time and memory of `worker.py`.
"""
