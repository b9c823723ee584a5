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
        "images": _fingerprint(data.source.train),
        "splits": _digest(data.splits.train.tobytes(), data.splits.calibration.tobytes()),
        "cuts": model.cuts,
        "backbone": [recipe.model.backbone, recipe.model.options, _weights(model)],
    }
    return _digest(json.dumps(content, sort_keys=True, default=str).encode())


def _fingerprint(images: Images) -> str:
    """Of images in memory their pixels; of files their names, sizes and times, which are read much faster."""
    found = [images.labels.tobytes()]
    if images.array is not None:
        found.append(images.array.tobytes())
    for path in getattr(images, "paths", ()):
        status = path.stat()
        found.append(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return _digest(*found)


def _weights(model: MultiExitModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.stages.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
