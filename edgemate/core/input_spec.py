"""How a decoded image becomes the network's input: the specification that a run and a bundle carry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgemate.errors import DataError
from edgemate.limits import INPUT_PIXELS, INPUT_SIDE
from edgemate.wording import counted, key_path

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_LARGEST_VALUE = 1e9
"""Of a normalized pixel. What is far above overflows float32 in the first layer."""

Pixels = Annotated[int, Field(ge=1, le=INPUT_SIDE.most)]


class Resize(BaseModel):
    """How a decoded image is resized, before any crop.

    Attributes:
        mode: `stretch` to (height, width), whatever the aspect ratio was; `shorter_side` to that many pixels, with the
            aspect ratio kept.
        size: (height, width) for `stretch`, pixels for `shorter_side`.
        interpolation: PIL's filter; all but `nearest` antialias when the image shrinks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["stretch", "shorter_side"]
    size: Pixels | tuple[Pixels, Pixels]
    interpolation: Interpolation = "bilinear"

    @model_validator(mode="after")
    def _check_size(self) -> Resize:
        if (self.mode == "stretch") != isinstance(self.size, tuple):
            raise ValueError("size is (height, width) for stretch and one number for shorter_side")
        if isinstance(self.size, tuple):
            _check_pixels("size", *self.size)
        return self


class InputSpec(BaseModel):
    """How a decoded image becomes the network's input, float32 (C, H, W).

    The steps, in this order: convert to gray or RGB, `resize`, `center_crop`, scale to [0, 1], subtract `mean`, divide
    by `std`.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        height: of the network's input, in pixels.
        width: of the network's input, in pixels.
        resize: None for no resize.
        center_crop: (height, width), or None for no crop. A smaller image is padded with black.
        mean: one number per channel, of pixels in [0, 1].
        std: one number per channel, of pixels in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal[1, 3]
    height: Pixels
    width: Pixels
    resize: Resize | None = None
    center_crop: tuple[Pixels, Pixels] | None = None
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _check_together(self) -> InputSpec:
        size = (self.height, self.width)
        _check_pixels("height and width", *size)
        if self.center_crop not in (None, size):
            raise ValueError(f"center_crop {self.center_crop} is not (height, width) {size}")
        stretched = self.resize is not None and self.resize.mode == "stretch" and self.center_crop is None
        if stretched and self.resize is not None and self.resize.size != size:
            raise ValueError(f"resize to {self.resize.size} without a crop is not (height, width) {size}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"mean and std need one number per channel, {self.channels} each")
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError("mean and std must be finite")
        pairs = zip(self.mean, self.std, strict=True)
        if any(abs((pixel - mean) / std) > _LARGEST_VALUE for mean, std in pairs for pixel in (0, 1)):
            raise ValueError(f"mean and std give values above {_LARGEST_VALUE:g}; pixels are in [0, 1]")
        return self

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """The shape of `batch` preprocessed images, (batch, channels, height, width)."""
        return (batch, self.channels, self.height, self.width)

    def to_json(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> InputSpec:
        """Read what `to_json` returned. Raises DataError, naming the first key that does not fit."""
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            first = error.errors()[0]
            key = key_path(first["loc"])
            raise DataError(": ".join(part for part in ("input spec", key, first["msg"]) if part)) from error

    def with_normalization(self, mean: Sequence[float], std: Sequence[float]) -> InputSpec:
        """A copy with another mean and standard deviation.

        Raises:
            DataError: not one number per channel, or a standard deviation that is not positive.
        """
        for name, numbers in (("mean", mean), ("std", std)):
            if len(numbers) != self.channels:
                raise DataError(
                    f"{name} has {counted(len(numbers), 'number')}; the images have {counted(self.channels, 'channel')}"
                )
        if min(std) <= 0:
            raise DataError(f"std is {list(std)}; every number must be positive")
        return self.model_validate({**self.model_dump(), "mean": tuple(mean), "std": tuple(std)})


def _check_pixels(what: str, height: int, width: int) -> None:
    if height * width > INPUT_PIXELS.most:
        raise ValueError(f"{what}: {height} × {width} are too many pixels; the limit is {INPUT_PIXELS.most:,}")
