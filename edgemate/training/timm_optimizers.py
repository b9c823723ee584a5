"""Optimizers of timm, the library of Ross Wightman (Apache-2.0), by name: `timm/adan`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer

from edgemate.config.ranges import Rate
from edgemate.errors import UsageError
from edgemate.registry import closest

PREFIX = "timm/"

_OURS = ("params", "lr", "weight_decay", "self")


def timm_optimizer(name: str, groups: Iterable[dict[str, Any]], lr: Rate, **options: Any) -> Optimizer:
    """An optimizer of timm, with timm's defaults: a momentum of 0.9, for example, where there is one.

    Args:
        name: as `timm.optim.list_optimizers()` lists it.
        groups: parameter groups, each with its weight decay and, where it is not `lr`, its learning rate.
        lr: learning rate of the groups without their own.
        options: arguments of the optimizer; a list is passed as a tuple.

    Raises:
        UsageError: timm has no such optimizer or option, an option is out of range, or the optimizer cannot be used
            here.
    """
    optim = _optim()
    known = optim.list_optimizers()
    if name not in known:
        raise UsageError(f"timm has no optimizer {name!r}; {_near(name, known)}")
    if optim.get_optimizer_info(name).second_order:
        raise UsageError(f"{PREFIX}{name} needs second derivatives, which no step computes; use {PREFIX}adamw, say")
    try:
        accepted = _accepted(optim, name)
        for option in options:
            if option not in accepted:
                hint = closest(option, accepted) if accepted else "it has none"
                raise UsageError(f"{PREFIX}{name} has no option {option!r}; {hint}")
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        optimizer: Optimizer = optim.create_optimizer_v2(list(groups), opt=name, lr=lr, weight_decay=0.0, **given)
    except UsageError:
        raise
    except Exception as error:  # optimizers check their arguments, and what they need to be installed, in many ways
        shown = "".join(f", {key}={value}" for key, value in options.items())
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UsageError(f"{PREFIX}{name} cannot be built with lr={lr}{shown}: {reason}") from error
    return optimizer


def _accepted(optim: Any, name: str) -> list[str]:
    """Arguments of an optimizer, without those that the recipe sets elsewhere; sorted."""
    made = optim.get_optimizer_class(name, bind_defaults=False)
    parameters = inspect.signature(made).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sorted(one.name for one in parameters if one.kind not in variadic and one.name not in _OURS)


def _near(name: str, known: list[str]) -> str:
    hint = closest(name, known)
    return hint.replace("'", f"'{PREFIX}", 1).replace(" or '", f" or '{PREFIX}") if hint.startswith("did") else hint


def _optim() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import timm.optim as optim
    except ImportError as error:
        raise UsageError(
            f"optimizers of timm need timm, which is not installed ({error}); pip install 'timm>=1.0.12'"
        ) from error
    return optim
