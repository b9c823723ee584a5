"""Networks of timm, the library of Ross Wightman (Apache-2.0), by name: `timm/mobilenetv3_small_100`.

A name may have the tag of its weights: `timm/resnet18.a1_in1k`.
"""

from __future__ import annotations

import difflib
import warnings
from typing import Annotated, Any

from pydantic import Field

from edgemate.errors import UsageError
from edgemate.models.networks.network import InputDefaults, Network

PREFIX = "timm/"


def timm_network(
    name: str,
    channels: int,
    size: tuple[int, int] | None,
    pretrained: bool,
    *,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    arguments: dict[str, Any] = {},  # noqa: B006 (never changed; a recipe's options are read from this line)
) -> Network:
    """A network of timm, with its own number of classes.

    One that timm publishes without a classifier gets a new one of a single class, which is then to be replaced.

    Args:
        name: as timm lists it, with or without the tag of its weights.
        channels: of the images; timm adapts the first convolution.
        size: (height, width) of the images, for networks that are built for one size.
        pretrained: let timm download its weights, or take them from its cache.
        dropout: before the classifier.
        drop_path: stochastic depth.
        arguments: further arguments of `timm.create_model`.

    Raises:
        UsageError: the name or an argument is unknown, or the weights cannot be loaded.
    """
    timm = _timm()
    check_name(name)
    given: dict[str, Any] = {"in_chans": channels, "drop_rate": dropout, "drop_path_rate": drop_path}
    given = {key: value for key, value in given.items() if key == "in_chans" or value}
    config = _config(name)
    if size is not None and config is not None and config.fixed_input_size and size != tuple(config.input_size[1:]):
        given["img_size"] = size
    bare = config is not None and not config.num_classes and "num_classes" not in arguments
    if bare:
        given["num_classes"] = 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # notices about names that timm has changed
            module = timm.create_model(name, pretrained=pretrained, **{**given, **arguments})
    except (TypeError, ValueError) as error:
        raise UsageError(f"{PREFIX}{name} cannot be built: {_line(error)}") from error
    except Exception as error:  # the download may fail in many ways
        if not pretrained:
            raise UsageError(f"{PREFIX}{name} cannot be built: {_line(error)}") from error
        raise UsageError(
            f"the pretrained weights of {PREFIX}{name} cannot be loaded: {_line(error)}; connect to the internet once, "
            "or set model.weights to file:PATH"
        ) from error
    return Network(module, pretrained and not bare)


def timm_input(name: str) -> InputDefaults | None:
    """How timm prepares images for the network's weights; None if it has none. Raises UsageError for a wrong name."""
    _timm()
    check_name(name)
    config = _config(name)
    if config is None:
        return None
    side = int(config.input_size[1])
    interpolation = config.interpolation if config.interpolation in ("bilinear", "bicubic", "nearest") else "bicubic"
    return InputDefaults(
        side, max(side, int(side / config.crop_pct)), interpolation, tuple(config.mean), tuple(config.std)
    )


def timm_names(pattern: str = "*") -> list[str]:
    """Names that match a pattern, such as `efficientnet*`, sorted."""
    found: list[str] = _timm().list_models(pattern)
    return found


def timm_tagged_names(pattern: str) -> list[str]:
    """Names with the tag of their weights that match a pattern, such as `resnet18.*`, sorted."""
    found: list[str] = _timm().list_pretrained(pattern)
    return found


def check_name(name: str) -> None:
    """Raise UsageError for a name that timm does not have; the message names the closest ones."""
    timm = _timm()
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        hint = (
            f"did you mean {', '.join(PREFIX + other for other in close)}?" if close else "see `edgemate models timm/*`"
        )
        raise UsageError(f"timm has no network {architecture!r}; {hint}")
    if tag and name not in timm.list_pretrained(f"{architecture}.*"):
        known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise UsageError(f"timm has no weights {name!r}; for {architecture} it has: {known}")


def _config(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name)


def _timm() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import timm
    except ImportError as error:
        raise UsageError(f"networks of timm need timm, which is not installed ({error}); pip install timm") from error
    return timm


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
