"""Opening a bundle. Before any file is used, it is checked to be complete, unchanged and inside the folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate import files
from edgemate.bundle.consistent import consistently
from edgemate.bundle.manifest import FORMAT_VERSION, MANIFEST_FILE, FileMetadata, Manifest
from edgemate.bundle.versioned_json import read_versioned
from edgemate.errors import BundleError

CALIBRATION_FILE = "calibration.npz"


@dataclass(frozen=True)
class Golden:
    """Golden samples: real inputs with the reference network's logits.

    `images` float32 `(N, channels, height, width)`, ready for the network; `labels` int64 `(N,)`; `logits` float32
    `(N, K, C)`, one row per exit.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True)
class CalibrationLogits:
    """Logits of every exit on images of the calibration split.

    `logits` float32 `(N, K, C)`; `labels` int64 `(N,)`.
    """

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: the folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Bundle:
        """Open the bundle in folder `path`.

        Every listed file must exist inside the folder, after following symbolic links. With `verify` (the default) its
        size and SHA-256 must match the manifest's, which reads every file once.

        A bundle that is calibrated or replaced meanwhile is opened as it was before or as it is after.

        Raises:
            BundleError: a check fails, or the manifest is of another format; the message names the file or the key.
        """
        return consistently(Path(path), lambda: cls._open(Path(path), verify=verify))

    @classmethod
    def _open(cls, path: Path, *, verify: bool) -> Bundle:
        if not path.is_dir():
            raise BundleError(f"{path}: no such bundle folder")
        if not (path / MANIFEST_FILE).is_file():
            raise BundleError(f"{path}: not a bundle: it has no {MANIFEST_FILE}")
        manifest = read_versioned(path / MANIFEST_FILE, Manifest, FORMAT_VERSION, remedy="export the run again")
        bundle = cls(path, manifest)
        for relative, metadata in bundle.manifest.files.items():
            listed = bundle.file(relative)
            if verify:
                _check_content(listed, metadata)
        return bundle

    def has(self, relative: str) -> bool:
        """Whether the manifest lists file `relative`."""
        return relative in self.manifest.files

    def file(self, relative: str) -> Path:
        """The path of the listed file `relative`.

        Raises:
            BundleError: it is not listed, is missing, or a symbolic link leads out of the bundle.
        """
        if relative not in self.manifest.files:
            raise BundleError(f"{self.path}: {relative!r} is not in the bundle's list of files")
        path = self.path / relative
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise BundleError(f"{path}: a symbolic link leads out of the bundle")
        if not path.is_file():
            raise BundleError(f"{path}: listed in {MANIFEST_FILE} but missing; copy or export the bundle again")
        return path

    def golden(self) -> Golden:
        """The golden samples, from `golden.npz`.

        Raises:
            BundleError: they are missing, cannot be read, or have other shapes than the manifest's.
        """
        return Golden(**self._arrays("golden.npz", ("images", "labels", "logits")))

    def calibration(self) -> CalibrationLogits:
        """The logits of every exit on the calibration split, from `calibration.npz`.

        Raises:
            BundleError: the file is missing, cannot be read, or has other shapes than the manifest's.
        """
        if not self.has(CALIBRATION_FILE):
            raise BundleError(
                f"{self.path}: has no {CALIBRATION_FILE}, which thresholds are chosen from; export the run again"
            )
        return CalibrationLogits(**self._arrays(CALIBRATION_FILE, ("labels", "logits")))

    def check(self, relative: str) -> None:
        """Raise BundleError if the listed file `relative` was changed after it was written."""
        _check_content(self.file(relative), self.manifest.files[relative])

    def _arrays(self, relative: str, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
        path = self.file(relative)
        try:
            arrays = files.read_arrays(path)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: cannot be read: {error}") from error
        samples = len(arrays.get("labels", ()))
        manifest = self.manifest
        known: dict[str, tuple[type[Any], tuple[int, ...]]] = {
            "images": (np.float32, manifest.input.shape(samples)),
            "labels": (np.int64, (samples,)),
            "logits": (np.float32, (samples, len(manifest.exits), len(manifest.classes))),
        }
        expected = {name: known[name] for name in names}
        for name, (dtype, shape) in expected.items():
            array = arrays.get(name)
            if array is None or array.dtype != dtype or array.shape != shape:
                given = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise BundleError(f"{path}: {name} must be {np.dtype(dtype)} {shape}, not {given}")
        return {name: arrays[name] for name in expected}


def _check_content(path: Path, metadata: FileMetadata) -> None:
    size = path.stat().st_size
    if any(size == content.bytes and files.sha256(path) == content.sha256 for content in metadata.contents):
        return
    if size != metadata.bytes:
        raise BundleError(f"{path}: has {size} bytes where {metadata.bytes} were written; copy the bundle again")
    raise BundleError(f"{path}: was changed after it was written (its SHA-256 differs); copy the bundle again")
