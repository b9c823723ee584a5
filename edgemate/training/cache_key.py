"""What cached features depend on, so that a cache is never used for another network or other data."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from edgemate.config import Recipe
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
    }
    return digest(json.dumps(content, sort_keys=True, default=str).encode())


def fingerprint(images: Images) -> str:
    """Hexadecimal SHA-256 of the pixels of images in memory; of files their names, sizes and times, which is faster."""
    found = [images.labels.tobytes()]
    if images.array is not None:
        found.append(images.array.tobytes())
    for path in getattr(images, "paths", ()):
        status = path.stat()
        found.append(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest(*found)


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
