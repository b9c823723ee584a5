"""The arrays of a bundle's golden and calibration samples, checked against the manifest before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.array_files import ArrayArchive, open_arrays
from edgemate.bundle.manifest import Manifest
from edgemate.errors import BundleError

Array = npt.NDArray[Any]


def read_sample_arrays(path: Path, names: tuple[str, ...], manifest: Manifest) -> dict[str, Array]:
    """The named of `images` as the graphs take them, `labels` int64 (N,) and `logits` float32 (N, exits, classes).

    Args:
        path: the `.npz` file.
        names: of the arrays, `labels` among them.
        manifest: of the bundle.

    Raises:
        BundleError: the file cannot be read, an array has another dtype or shape, a label is no class, or a number is
            not finite.
    """
    try:
        with open_arrays(path) as archive:
            _check_headers(archive, path, names, manifest)
            arrays = {name: archive.read(name) for name in names}
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
    labels, classes = arrays["labels"], len(manifest.classes)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise BundleError(
            f"{path}: labels are from {labels.min()} to {labels.max()}; the bundle has {classes:,} classes, so they "
            f"must be from 0 to {classes - 1}"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{path}: {name} has a number that is not finite; export the run again")
    return arrays


def _check_headers(archive: ArrayArchive, path: Path, names: tuple[str, ...], manifest: Manifest) -> None:
    headers = {name: archive.header(name) for name in names if name in archive.names}
    stated = (headers[name].shape for name in ("labels", "images", "logits") if name in headers)
    samples = next((shape[0] for shape in stated if shape), 0)
    known: dict[str, tuple[type[Any], tuple[int, ...]]] = {
        "images": (np.dtype(manifest.input.dtype).type, manifest.input.shape(samples)),
        "labels": (np.int64, (samples,)),
        "logits": (np.float32, (samples, len(manifest.exits), len(manifest.classes))),
    }
    for name in names:
        dtype, shape = known[name]
        header = headers.get(name)
        if header is None or header.dtype != dtype or header.shape != shape:
            given = "nothing" if header is None else f"{header.dtype} {header.shape}"
            raise BundleError(f"{path}: {name} must be {np.dtype(dtype)} {shape}, not {given}")
