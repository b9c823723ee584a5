"""What is done to a decoded image before the network sees it: the spec that travel with a run and a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edgemate.data.source import DataSource
from edgemate.errors import DataError
from edgemate.wording import counted

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Resize:
    """A resize of the decoded image, by PIL.

    Attributes:
        mode: `stretch` to (height, width), whatever the shape was; `shorter_side` to that many pixels, shape kept.
        size: (height, width) for `stretch`, pixels for `shorter_side`.
        interpolation: PIL's filter; all but `nearest` smooth when the image shrinks.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    mode: Literal["stretch", "shorter_side"]
    size: int | tuple[int, int]
    interpolation: Interpolation


@dataclass(frozen=True)
class InputSpec:
    """How a decoded image becomes the network's input, float32 (C, H, W), in this order.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        height: pixels the network sees.
        width: pixels the network sees.
        resize: first step, or None.
        center_crop: (height, width) of the second step, or None. Where the image is smaller it is padded with black.
        mean: per channel, of pixels scaled to [0, 1]; subtracted.
        std: per channel; divided by afterwards.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    channels: Literal[1, 3]
    height: int
    width: int
    resize: Resize | None
    center_crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values."""
        value: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> InputSpec:
        """The spec that `to_json` gave. Raises DataError, naming the first key that does not fit."""
        try:
            return _adapter().validate_python(dict(value))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise DataError(f"input spec: {key}: {first['msg']}") from error

    def with_normalization(self, mean: Sequence[float], std: Sequence[float]) -> InputSpec:
        """The same spec with another mean and standard deviation.

        Raises:
            DataError: not one number per channel, or a standard deviation that is not positive.
        """
        for name, numbers in (("mean", mean), ("std", std)):
            if len(numbers) != self.channels:
                raise DataError(
                    f"data.{name} has {counted(len(numbers), 'number')}; "
                    f"the images have {counted(self.channels, 'channel')}"
                )
        if min(std) <= 0:
            raise DataError(f"data.std is {list(std)}; every number must be positive")
        return replace(self, mean=tuple(mean), std=tuple(std))


def plan_input(
    source: DataSource,
    image_size: int | None = None,
    resize: Literal["stretch", "shorter_side"] | None = None,
    resize_to: int | None = None,
    interpolation: Interpolation = "bilinear",
) -> InputSpec:
    """The steps that bring a dataset's images to the wanted size, without normalization (mean 0, std 1).

    Args:
        source: the dataset.
        image_size: height and width the network sees; the images' own size if None.
        resize: how they reach it; if None, `stretch` where all images have one size and `shorter_side` elsewhere.
        resize_to: for `shorter_side`: its pixels before the center crop; image_size × 256 / 224 if None.
        interpolation: PIL's filter.

    Raises:
        DataError: the options do not fit the dataset or each other.
    """
    channels = source.channels
    plain = ((0.0,) * channels, (1.0,) * channels)
    if image_size is None:
        if source.size is None:
            raise DataError(f"dataset {source.name}: its images differ in size; set data.image_size")
        if resize is not None or resize_to is not None:
            raise DataError("data.resize and data.resize_to need data.image_size beside them")
        return InputSpec(channels, *source.size, None, None, *plain)
    wanted = (image_size, image_size)
    if resize is None:
        resize = "shorter_side" if source.size is None or resize_to is not None else "stretch"
    if resize == "stretch":
        if resize_to is not None:
            raise DataError("data.resize_to is for data.resize: shorter_side; stretch goes straight to image_size")
        step = None if source.size == wanted else Resize("stretch", wanted, interpolation)
        return InputSpec(channels, *wanted, step, None, *plain)
    side = round(image_size * 256 / 224) if resize_to is None else resize_to
    if side < image_size:
        raise DataError(f"data.resize_to is {side}; it must be at least data.image_size, {image_size}")
    return InputSpec(channels, *wanted, Resize("shorter_side", side, interpolation), wanted, *plain)


@cache
def _adapter() -> TypeAdapter[InputSpec]:
    return TypeAdapter(InputSpec)
