"""`edgemate images`: real images of a recipe's data, as files."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import say
from edgemate.cli.trust import AllowPlugins
from edgemate.wording import counted


class Split(str, Enum):
    """A split, by the name that a user gives it."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    TEST = "test"


def images(
    recipe: Annotated[
        str, typer.Argument(help="Recipe whose data section names the images: a YAML file, or a shipped recipe's name.")
    ],
    split: Annotated[Split, typer.Option(help="Split to take the images from.")] = Split.TEST,
    count: Annotated[int, typer.Option(min=1, help="Number of images, stratified by class.")] = 20,
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("images"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random choice.")] = 0,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override section.key=value; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    allow_plugins: AllowPlugins = False,
    quiet: Quiet = False,
) -> None:
    """Write real images of a recipe's dataset as PNG files, <index>_<label>.png, before any resizing."""
    import io
    import re

    from edgemate.config import load_recipe
    from edgemate.config.shipped import find_recipe
    from edgemate.data import check_data, load_source, splits_of, stratified_sample
    from edgemate.durable import remove_leftovers
    from edgemate.errors import UsageError
    from edgemate.file_group import finish_groups, together
    from edgemate.files import check_folder, write_bytes
    from edgemate.output_place import check_output_folder
    from edgemate.plug_ins import allowed_in_runs

    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; name a folder with `output`")
    check_output_folder(output)
    finish_groups(output)
    remove_leftovers(output)
    if output.is_dir() and any(output.iterdir()) and not force:
        raise UsageError(f"{output} is not empty; name another folder with `output`, or allow `overwrite`")
    with allowed_in_runs(allow_plugins):
        data = load_recipe(find_recipe(recipe), overrides or []).data
    check_folder(output)
    check_data(data)
    with showing_progress(quiet, steps=False) as progress, together(output):
        with progress.unattended():
            progress.step("reading the dataset")
            source = load_source(data.name, data.options, skip_damaged=data.skip_damaged)
            splits = splits_of(data, source)
        chosen = source.test if split is Split.TEST else source.train
        indices = getattr(splits, split.value)
        sample = indices[stratified_sample(chosen.labels[indices], count, seed)]
        progress.step("writing, image")
        for done, index in enumerate(sample, start=1):
            label = re.sub(r"[^\w.-]+", "-", source.classes[chosen.labels[index]])
            buffer = io.BytesIO()
            chosen.image(int(index)).save(buffer, "PNG")
            write_bytes(output / f"{index:05d}_{label}.png", buffer.getvalue())
            progress.advance(done, len(sample))
    say(f"{counted(len(sample), f'{split.value} image')} of {source.name} in {output}")
