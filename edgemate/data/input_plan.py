"""Which steps bring a dataset's images to the size that a recipe asks for."""

from __future__ import annotations

from edgemate.config import Data
from edgemate.core.input_spec import InputSpec, Resize
from edgemate.data.source import DataSource
from edgemate.errors import DataError


def plan_input(source: DataSource, section: Data) -> InputSpec:
    """The steps that bring a dataset's images to the network's size, without normalization (mean 0, std 1).

    Args:
        source: the dataset.
        section: image_size (the images' own size if None), resize (if None, `stretch` where all images have the same
            size, else `shorter_side`), resize_to (of the shorter side, before the center crop; image_size × 256 / 224
            if None) and interpolation (bilinear if None).

    Raises:
        DataError: the options do not fit the dataset or each other.
    """
    image_size, resize, resize_to = section.image_size, section.resize, section.resize_to
    interpolation = section.interpolation or "bilinear"
    channels = source.channels

    def planned(size: tuple[int, int], step: Resize | None = None, crop: tuple[int, int] | None = None) -> InputSpec:
        return InputSpec(
            channels=channels,
            height=size[0],
            width=size[1],
            resize=step,
            center_crop=crop,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
        )

    if image_size is None:
        if source.size is None:
            raise DataError(f"dataset {source.name}: its images differ in size; set data.image_size")
        if resize is not None or resize_to is not None:
            raise DataError("data.resize and data.resize_to need data.image_size beside them")
        return planned(source.size)
    wanted = (image_size, image_size)
    if resize is None:
        resize = "shorter_side" if source.size is None or resize_to is not None else "stretch"
    if resize == "stretch":
        if resize_to is not None:
            raise DataError("data.resize_to is for data.resize: shorter_side; stretch goes straight to image_size")
        step = Resize(mode="stretch", size=wanted, interpolation=interpolation)
        return planned(wanted, None if source.size == wanted else step)
    side = round(image_size * 256 / 224) if resize_to is None else resize_to
    if side < image_size:
        raise DataError(f"data.resize_to is {side}; it must be at least data.image_size, {image_size}")
    return planned(wanted, Resize(mode="shorter_side", size=side, interpolation=interpolation), wanted)
