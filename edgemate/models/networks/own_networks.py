"""A user's own network or backbone by its dotted path: `my_pkg.my_mod:MyNet`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone
from edgemate.models.networks.network import Network

_CHANNELS = ("in_channels", "in_chans", "channels")
_CLASSES = ("num_classes", "classes", "n_classes")


def own_network(
    path: str, factory: Callable[..., Any], channels: int, classes: int, options: Mapping[str, Any]
) -> Backbone | Network:
    """What a class or function of the user's returns, a `Backbone` or any module that returns logits.

    The channels of the images and the number of classes are passed by name where it takes such an argument
    (`in_channels`, `in_chans` or `channels`; `num_classes`, `classes` or `n_classes`). A first argument without a
    default and of another name is given the channels, too.

    Args:
        path: the dotted path, for messages.
        factory: what it leads to.
        channels: of the images.
        classes: of the dataset.
        options: of the recipe, as keyword arguments.

    Raises:
        UsageError: it cannot be called so, fails, or returns something else.
    """
    if not callable(factory):
        raise UsageError(
            f"{path} is a {type(factory).__name__}; it should be a class or function that returns a network"
        )
    given, positional = dict(options), []
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [parameter.name for parameter in parameters]
    for known, value in ((_CHANNELS, channels), (_CLASSES, classes)):
        name = next((name for name in known if name in names and name not in given), None)
        if name is not None:
            given[name] = value
    required = [p for p in parameters[:1] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(parameter.default is parameter.empty and parameter.name not in given for parameter in required):
        positional.append(channels)
    try:
        made = factory(*positional, **given)
    except UsageError:
        raise
    except Exception as error:  # a user's own code may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UsageError(f"{path} cannot be built: {type(error).__name__}: {reason}") from error
    if isinstance(made, Backbone):
        return made
    if isinstance(made, nn.Module):
        return Network(made)
    raise UsageError(
        f"{path} returned a {type(made).__name__}; it should return a torch.nn.Module that gives logits, or an "
        "edgemate.models.Backbone"
    )
