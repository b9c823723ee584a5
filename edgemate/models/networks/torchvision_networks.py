"""Classification networks of torchvision by name: `torchvision/efficientnet_b0`."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from timm.models import adapt_input_conv
from torch import nn
from torchvision import models
from torchvision.transforms.functional import InterpolationMode

from edgemate.errors import UsageError
from edgemate.models.networks.network import InputDefaults, Network

PREFIX = "torchvision/"
_TRANSFORM = "transform_input"
_INTERPOLATIONS = {InterpolationMode.BILINEAR: "bilinear", InterpolationMode.BICUBIC: "bicubic"}


def torchvision_network(
    name: str,
    channels: int,
    size: tuple[int, int] | None,
    pretrained: bool,
    *,
    arguments: dict[str, Any] = {},  # noqa: B006 (never changed; a recipe's options are read from this line)
) -> Network:
    """A network of torchvision, with its own number of classes.

    Args:
        name: as torchvision lists it.
        channels: of the images; for other than 3 the first convolution is a new one.
        size: (height, width) of the images, for networks that are built for one size.
        pretrained: let torchvision download its default weights, or take them from its cache.
        arguments: further arguments of torchvision's builder.

    Raises:
        UsageError: the name or an argument is unknown, or the weights cannot be loaded.
    """
    check_name(name)
    weights = models.get_model_weights(name).DEFAULT if pretrained else None
    given = dict(arguments)
    if weights is None and "aux_logits" in _parameters(name):  # further outputs, of no use here
        given = {"aux_logits": False, "init_weights": False, **given}
    if weights is None and size is not None and "image_size" in inspect.signature(_class(name)).parameters:
        if size[0] != size[1]:
            raise UsageError(f"{PREFIX}{name} takes square images only, not {size[0]}×{size[1]}")
        given = {"image_size": size[0], **given}
    try:
        module = models.get_model(name, weights=weights, **given)
    except AssertionError as error:  # torchvision's word for an image size that does not fit
        side = given.get("image_size")
        raise UsageError(
            f"{PREFIX}{name} cannot take images of {side}×{side}: {error}; set data.image_size to a size that it can "
            "take"
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{PREFIX}{name} cannot be built: {' '.join(str(error).split())}") from error
    except Exception as error:  # the download may fail in many ways, and so may a builder
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if not pretrained:
            raise UsageError(f"{PREFIX}{name} cannot be built: {reason}") from error
        raise UsageError(
            f"the pretrained weights of {PREFIX}{name} cannot be loaded: {reason}; connect to the internet once, or "
            "set model.weights to file:PATH"
        ) from error
    if _TRANSFORM in _parameters(name) and _TRANSFORM not in arguments:
        # Weights switch it on. Without them, as a run is opened, the network would be another one.
        module.transform_input = False
    if channels != 3:
        _take_channels(module, channels, pretrained)
    return Network(module, pretrained)


def torchvision_input(name: str, arguments: Mapping[str, Any] = {}) -> InputDefaults | None:
    """How torchvision prepares images for its default weights. Raises UsageError for a wrong name.

    Of GoogLeNet and Inception v3 the network itself turns the mean and std of its images into 0.5, if the argument
    `transform_input` is set. Otherwise 0.5 is given here.
    """
    check_name(name)
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    side = int(transforms.crop_size[0])
    interpolation = _INTERPOLATIONS.get(transforms.interpolation, "bilinear")
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    if _TRANSFORM in _parameters(name) and not arguments.get(_TRANSFORM):
        mean = std = (0.5,) * len(mean)
    return InputDefaults(side, int(transforms.resize_size[0]), interpolation, mean, std)


def torchvision_names(pattern: str = "*") -> list[str]:
    """Names that match a pattern, such as `resnet*`, sorted."""
    return sorted(fnmatch.filter(models.list_models(module=models), pattern))


def check_name(name: str) -> None:
    """Raise UsageError for a name that torchvision does not have; the message names the closest ones."""
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        also = (
            f"did you mean {', '.join(PREFIX + other for other in close)}?"
            if close
            else "see `edgemate models torchvision/*`"
        )
        raise UsageError(f"torchvision has no network {name!r}; {also}")


def _parameters(name: str) -> set[str]:
    return set(inspect.signature(_class(name)).parameters)


def _class(name: str) -> Any:
    """The class that a builder returns."""
    builder = models.get_model_builder(name)
    returned = inspect.signature(builder).return_annotation
    return vars(inspect.getmodule(builder))[returned] if isinstance(returned, str) else returned


def _take_channels(network: nn.Module, channels: int, pretrained: bool) -> None:
    """A first convolution for so many channels. Of pretrained weights it gets what timm makes of them: of gray images
    their sum over channels.
    """
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            parent = network.get_submodule(path.rpartition(".")[0])
            new = nn.Conv2d(
                channels,
                module.out_channels,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                module.padding,  # type: ignore[arg-type]
                bias=module.bias is not None,
            )
            with torch.no_grad():
                if pretrained:
                    new.weight.copy_(adapt_input_conv(channels, module.weight))
                    if module.bias is not None and new.bias is not None:
                        new.bias.copy_(module.bias)
                else:
                    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
            setattr(parent, path.rpartition(".")[2], new)
            return
