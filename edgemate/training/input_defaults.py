"""Fills in how images are prepared from the weights that training begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgemate.config import Data
from edgemate.core.input_spec import InputSpec
from edgemate.data.loading import load_source
from edgemate.errors import DataError, RunError, UsageError
from edgemate.models.networks.inputs import input_defaults
from edgemate.models.networks.network import InputDefaults
from edgemate.registry import DATASETS
from edgemate.runs import Run


def with_input_defaults(
    data: Data, backbone: str, weights: str | None, options: Mapping[str, Any] = {}, *, normalization: bool = True
) -> Data:
    """The data section with the input size, resize, interpolation, mean and std of the weights where it has none.

    Of a run's weights, the preparation is that of the run. For gray images the mean over the channels is taken.

    Args:
        data: the section. Without weights, or where their preparation is not known, it stays as it is.
        backbone: `model.backbone`.
        weights: `model.weights`.
        options: `model.options`.
        normalization: fill in mean and std, for which a dataset by dotted path may have to be loaded.

    Raises:
        UsageError: the library does not have the network, or there is no such run.
        DataError: whether the images are gray is read from the dataset, and it cannot be.
    """
    if weights is None:
        return data
    kind, _, path = weights.partition(":")
    known = _of_run(Path(path)) if kind == "run" else input_defaults(backbone, options)
    if known is None:
        return data
    filled: dict[str, Any] = {}
    if data.image_size is None and known.image_size is not None:
        filled["image_size"] = known.image_size
        if data.resize is None and data.resize_to is None:
            filled["resize"] = known.resize
        if data.resize_to is None and data.resize != "stretch":
            filled["resize_to"] = known.resize_to
    if data.interpolation is None:
        filled["interpolation"] = known.interpolation
    if normalization and data.mean is None and data.std is None:
        gray = len(known.mean) > 1 and _channels(data) == 1
        filled["mean"] = _per_channel(known.mean, gray)
        filled["std"] = _per_channel(known.std, gray)
    return data.model_copy(update=filled)


def _channels(data: Data) -> int:
    """Channels of the images. What does not know them without reading says so by `channels_<factory>`."""
    if isinstance(given := data.options.get("channels"), int):
        return given
    read = DATASETS.companion(data.name, "channels_")
    if read is not None:
        return int(DATASETS.call(data.name, read, **data.options))
    if data.name in DATASETS:
        return int(DATASETS.constant(data.name, "CHANNELS", 3))
    try:
        return load_source(data.name, data.options).channels
    except UsageError as error:  # which would be said of the model
        raise DataError(str(error)) from error


def _per_channel(numbers: Sequence[float], gray: bool) -> list[float]:
    return [sum(numbers) / len(numbers)] if gray else list(numbers)


def _of_run(path: Path) -> InputDefaults:
    try:
        spec = InputSpec.from_json(Run.open(path).read_metadata().input)
    except RunError as error:
        raise UsageError(f"model.weights: {error}") from error
    resize = spec.resize
    size = spec.height if spec.height == spec.width else None
    side = resize.size if resize is not None and isinstance(resize.size, int) else None
    mode = None if resize is None else resize.mode
    interpolation = resize.interpolation if resize is not None else "bilinear"
    return InputDefaults(size, side, interpolation, spec.mean, spec.std, mode)
