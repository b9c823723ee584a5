"""What cached features depend on, so that a cache is never used for another network or other data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgemate import plug_ins
from edgemate.config import Recipe
from edgemate.config.parts import own_modules
from edgemate.data import Images, PreparedData
from edgemate.models import MultiExitModel

_FORMAT = 1


def cache_key(recipe: Recipe, data: PreparedData, model: MultiExitModel) -> str:
    """Hexadecimal SHA-256 over the recipe's data section, the images, their augmentation's seeds and the backbone.

    The batch size and the seed are part of it, since a batch carries the seed of its augmentation. The number of views
    and the types in which features are stored are not: the cache's own manifest says which it has.
    """
    section = recipe.data.model_dump(mode="json", exclude={"test_limit", "sampling", "repeats", "mixup", "cutmix"})
    content: dict[str, Any] = {
        "format": _FORMAT,
        "data": section,
        "input": data.spec.to_json(),
        "seed": data.seed,
        "batch_size": data.batch_size,
        "images": fingerprint(data.source.train),
        "splits": digest(data.splits.train.tobytes(), data.splits.calibration.tobytes()),
        "cuts": model.cuts,
        "backbone": [recipe.model.backbone, recipe.model.options, weights_digest(model)],
        **own_code(recipe),
    }
    return digest(json.dumps(content, sort_keys=True, default=str).encode())


def own_code(recipe: Recipe) -> dict[str, str]:
    """What to add to a key for the parts of the user's own in the sections of data and model: a digest of their code.

    Of each part it is the file or the package that its dotted path begins with; what these import from elsewhere is
    not looked at. Nothing is added without such parts.
    """
    sections = {"data": recipe.data.model_dump(mode="json"), "model": recipe.model.model_dump(mode="json")}
    files = [file for module in own_modules(sections) for file in plug_ins.files_of(module)]
    return {"code": digest(*(file.read_bytes() for file in files))} if files else {}


def fingerprint(images: Images) -> str:
    """Hexadecimal SHA-256 of the pixels of images, whose decoding takes time where a class of the user's own has them.

    Of files it is of their names, sizes and times.
    """
    found = hashlib.sha256(images.labels.tobytes())
    paths: Sequence[Path] | None = getattr(images, "paths", None)
    if images.array is not None:
        found.update(images.array.tobytes())
    elif paths is not None:
        for path in paths:
            status = path.stat()
            found.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    else:
        for index in range(len(images)):
            image = images.image(index)
            found.update(f"{image.mode} {image.size}\n".encode())
            found.update(image.tobytes())
    return found.hexdigest()


def weights_digest(model: MultiExitModel) -> str:
    """Hexadecimal SHA-256 over the backbone's weights."""
    found = hashlib.sha256()
    for name, tensor in model.stages.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def digest(*parts: bytes) -> str:
    """Hexadecimal SHA-256 over these bytes, one after another."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
