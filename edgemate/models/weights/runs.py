"""Loads the weights of another run into a network, with its heads where they fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from edgemate.errors import RunError, UsageError
from edgemate.models.multi_exit import MultiExitModel
from edgemate.runs import Run, read_tensors
from edgemate.wording import counted

_BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.(.+)")
_OWN = re.compile(r"heads\.\d+\.classifier\.graph\.(.+)")


def load_run(model: MultiExitModel, path: Path) -> list[str]:
    """Load the weights of a finished run of the same backbone.

    The exits may be elsewhere, or have other heads or classes: those heads are then new.

    Args:
        model: gets the weights.
        path: the run folder.

    Returns:
        A sentence for what was left out.

    Raises:
        UsageError: there is no finished run, or its backbone is another one.
    """
    try:
        weights = read_tensors(find_run(path).model_path)
    except RunError as error:
        raise UsageError(f"model.weights: {error}") from error
    weights.pop("mixing", None)
    own = {name: tensor for name, tensor in model.state_dict().items() if name != "mixing"}
    if _fits(weights, own):
        model.load_state_dict(weights, strict=False)
        return []
    theirs, ours = _backbone(weights), _backbone(own)
    given = {ours[name]: weights[theirs[name]] for name in ours if name in theirs}
    differing = [name for name in given if given[name].shape != own[name].shape and not name.startswith("heads.")]
    missing = [name for name in ours if name not in theirs and not ours[name].startswith("heads.")]
    if missing or differing:
        first = missing[0] if missing else differing[0]
        raise UsageError(
            f"model.weights: {path} is a run of another backbone: {counted(len(missing) + len(differing), 'tensor')} "
            f"missing or of another shape, the first one {first}"
        )
    given = {name: tensor for name, tensor in given.items() if tensor.shape == own[name].shape}
    cuts = Run.open(path).read_metadata().cuts
    new = []
    for exit, cut in enumerate(model.cuts):
        here = f"heads.{exit}."
        head = {name: tensor for name, tensor in own.items() if name.startswith(here)}
        there = f"heads.{cuts.index(cut)}." if cut in cuts else None
        found = {
            here + name.removeprefix(there): tensor
            for name, tensor in weights.items()
            if there is not None and name.startswith(there)
        }
        if _fits(found, head):
            given |= found
        elif not head.keys() <= given.keys():
            new.append(str(exit + 1))
    model.load_state_dict(given, strict=False)
    return [f"{path}: the heads of exits {', '.join(new)} are new"] if new else []


def find_run(path: Path) -> Run:
    """The finished run that weights are taken from. Raises UsageError where there is none."""
    try:
        return Run.open(path)
    except RunError as error:
        raise UsageError(f"model.weights: {error}") from error


def _fits(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return weights.keys() == own.keys() and all(weights[name].shape == own[name].shape for name in own)


def _backbone(names: Mapping[str, Tensor]) -> dict[str, str]:
    """What a tensor of the backbone is called wherever the exits are → its name here.

    Networks that were cut by their graph keep the names that they have in the library. The blocks of others are counted
    through.
    """
    matches = [found for name in names if (found := _BLOCK.fullmatch(name))]
    places = sorted({(int(found[1]), int(found[2])) for found in matches})
    names_here: dict[str, str] = {}
    for name in names:
        own, block = _OWN.fullmatch(name), _BLOCK.fullmatch(name)
        if own:
            names_here[own[1]] = name
        elif block and block[3].startswith("graph."):
            names_here[block[3].removeprefix("graph.")] = name
        elif block:
            names_here[f"{places.index((int(block[1]), int(block[2])))}:{block[3]}"] = name
    return names_here
