"""Reads weights from a file and loads them into a network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgemate.errors import UsageError
from edgemate.wording import counted

PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "network.")
"""Stripped where all names begin with one: of DataParallel, Lightning, torch.compile, and usual wrappers."""
_WRAPPERS = ("state_dict_ema", "state_dict", "model_state_dict", "model_ema", "model")
_SHOWN = 3
_ESCAPES = re.compile("\x1b\\[[0-9;]*m")
"""What torch makes words of its messages bold with."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a state dict that torch saved, which is read with weights_only.

    Raises:
        UsageError: the file is missing, or is neither.
    """
    if not path.is_file():
        raise UsageError(f"model.weights: there is no file {path}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return _state_dict(load_file(path), path)
        except (SafetensorError, OSError) as error:
            raise UsageError(f"model.weights: {path} cannot be read as safetensors: {error}") from error
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise errors of many kinds
        reason = " ".join(_ESCAPES.sub("", str(error)).split())[:160] or type(error).__name__
        raise UsageError(
            f"model.weights: {path} cannot be read as safetensors or as a state dict of tensors only: {reason}; save "
            "model.state_dict(), not the model"
        ) from error
    return _state_dict(stored, path)


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], source: str, classifiers: Sequence[str]
) -> list[str]:
    """Load weights into a network.

    Args:
        network: gets the weights.
        weights: name → tensor; a prefix that all names share is stripped.
        source: what messages call the weights.
        classifiers: paths of the layers that give the logits. Where their shapes differ, they are left out.

    Returns:
        A sentence for each thing that was left out.

    Raises:
        UsageError: other names or shapes do not fit; the message has the first ones of both sides. Or values are not
            floats or not finite.
    """
    own = network.state_dict()
    given = _stripped(weights, own)
    last = {name for name in own if any(name.startswith(f"{layer}.") for layer in classifiers)}
    notes = []
    differing = sorted(name for name in last & set(given) if given[name].shape != own[name].shape)
    if differing or (last and not last & set(given)):
        left = last & set(given)
        shapes = f" of {counted(len(given[differing[0]]), 'class')}" if differing else ""
        notes.append(f"{source}: its classifier{shapes} is left out; {', '.join(sorted(last))} is new")
        given = {name: tensor for name, tensor in given.items() if name not in left}
    missing = [name for name in own if name not in given and name not in last and not _is_counter(name)]
    unknown = [name for name in given if name not in own]
    wrong = [name for name in given if name in own and given[name].shape != own[name].shape]
    if missing or unknown:
        raise UsageError(
            f"model.weights: {source} is of another network: {counted(len(missing), 'tensor')} missing, "
            f"{counted(len(unknown), 'tensor')} unknown; the file begins with {_first(list(given))}, the network with "
            f"{_first(list(own))}"
        )
    if wrong:
        name = wrong[0]
        raise UsageError(
            f"model.weights: {source} is of another network: {name} has the shape {tuple(given[name].shape)} instead "
            f"of {tuple(own[name].shape)}" + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        )
    for name, tensor in given.items():
        if problem := _unusable(tensor, own[name]):
            raise UsageError(f"model.weights: {source} cannot be used: {name} {problem}")
    network.load_state_dict(given, strict=False)
    return notes


def _state_dict(stored: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
            break
    if not isinstance(stored, Mapping) or not stored or not all(isinstance(t, Tensor) for t in stored.values()):
        raise UsageError(f"model.weights: {path} holds no state dict, a mapping of names to tensors")
    return {str(name): tensor for name, tensor in stored.items()}


def _stripped(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without a prefix, as long as fewer names fit with it than without."""
    found = dict(weights)
    while True:
        fitting = sum(name in own for name in found)
        for prefix in PREFIXES:
            without = {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}
            # Beside the network's, a checkpoint may hold an optimizer's or a loss's tensors, or all may have a prefix.
            if sum(name in own for name in without) > fitting or (not fitting and 0 < len(without) == len(found)):
                found = without
                break
        else:
            return found


def _unusable(given: Tensor, own: Tensor) -> str | None:
    """Why a tensor of the right shape cannot become a network's own, which would be cast without a word."""
    if given.is_meta or given.layout is not torch.strided:
        return "has no plain values (a sparse or an empty tensor); save it as a dense one"
    if own.is_floating_point() and not given.is_floating_point():
        return f"is of {given.dtype}, not of floats; save the weights before they are quantized or converted"
    if given.is_floating_point() and not given.isfinite().all():
        return "has values that are not finite; the training that it is from has failed"
    return None


def _is_counter(name: str) -> bool:
    """Whether a tensor is one that old files lack: how many batches a normalization has seen."""
    return name.endswith("num_batches_tracked")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) or "nothing"
