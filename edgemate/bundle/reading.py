"""Opening a bundle. Before any file is used, it is checked to be complete, unchanged and inside the folder.

Every open of a file of a bundle goes through `Bundle` and its `folder`: no link is followed and no special file opened.
A file is listed in the manifest, or is of one of two kinds that belong to a device and have checks of their own:
`latency/*.json` and `engines/*/*`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgemate.bundle.consistent import consistently
from edgemate.bundle.manifest import FORMAT_VERSION, MANIFEST_FILE, FileMetadata, Graph, Manifest
from edgemate.bundle.onnx_graph import check_graph
from edgemate.bundle.sample_arrays import read_sample_arrays
from edgemate.bundle.versioned_json import read_versioned
from edgemate.errors import BundleError
from edgemate.limits import JSON_BYTES
from edgemate.trust import GuardedFolder, Trust

if TYPE_CHECKING:
    import os

CALIBRATION_FILE = "calibration.npz"
ENGINES_FOLDER = "engines"
LATENCY_FOLDER = "latency"


def read_manifest(path: Path, content: bytes) -> Manifest:
    """The manifest in the content of a `bundle.json`; `path` is for messages. Raises BundleError."""
    return read_versioned(path, Manifest, FORMAT_VERSION, remedy="export the run again", content=content)


@dataclass(frozen=True)
class Golden:
    """Golden samples: real inputs with the reference network's logits.

    `images` as the graphs take them, float32 `(N, channels, height, width)` or uint8 (`InputContract`); `labels` int64
    `(N,)`; `logits` float32 `(N, K, C)`, one row per exit.
    """

    images: npt.NDArray[Any]
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
    """An opened bundle: the folder, its manifest, and what the user said of who made it.

    `verified`: its files are what the manifest says; what is read later is compared too.
    """

    path: Path
    manifest: Manifest
    trust: Trust = field(default_factory=Trust)
    verified: bool = True

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        verify: bool = True,
        trusted_keys: str | os.PathLike[str] | None = None,
        trust_engines: bool = False,
    ) -> Bundle:
        """Open the bundle in folder `path`.

        Every listed file must exist inside the folder, and neither it nor a folder on the way there may be a link. With
        `verify` (the default) its size and SHA-256 must match the manifest's, which reads every file once.

        Args:
            path: the folder; it may be reached by a link.
            verify: read and compare every file.
            trusted_keys: a file or folder of public keys. The bundle must be signed by one of them, its manifest and
                everything else that is in its folder; what this machine built in it needs no signature.
            trust_engines: run its engines whoever built them.

        A bundle that is calibrated or replaced meanwhile is opened as it was before or as it is after.

        Raises:
            BundleError: a check fails, or the manifest is of another format; the message names the file or the key.
            UsageError: `trusted_keys` names no key that can be read.
        """
        keys = None if trusted_keys is None else Path(trusted_keys)
        return consistently(Path(path), lambda: cls._open(Path(path), verify, keys, trust_engines))

    @classmethod
    def _open(cls, path: Path, verify: bool, trusted_keys: Path | None, trust_engines: bool) -> Bundle:
        if not path.is_dir():
            raise BundleError(f"{path}: no such bundle folder")
        folder = GuardedFolder(path)
        try:
            content = folder.read(MANIFEST_FILE, JSON_BYTES.most)
        except FileNotFoundError as error:
            raise BundleError(f"{path}: not a bundle: it has no {MANIFEST_FILE}") from error
        trust = Trust(engines=trust_engines)
        if trusted_keys is not None:
            from edgemate.trust.verifying import verify_folder

            trust = verify_folder(folder, trusted_keys, content, engines=trust_engines)
        manifest = read_manifest(path / MANIFEST_FILE, content)
        bundle = cls(path, manifest, trust, verify or trusted_keys is not None)
        for relative, metadata in bundle.manifest.files.items():
            bundle.file(relative)
            if bundle.verified:
                bundle._check_content(relative, metadata)
        return bundle

    @property
    def folder(self) -> GuardedFolder:
        """The folder, which opens files and follows no link."""
        return GuardedFolder(self.path)

    def has(self, relative: str) -> bool:
        """Whether the manifest lists file `relative`."""
        return relative in self.manifest.files

    def file(self, relative: str) -> Path:
        """The path of the listed file `relative`.

        Raises:
            BundleError: it is not listed, is missing, or is no plain file; or a folder on the way there is a link.
        """
        if relative not in self.manifest.files:
            raise BundleError(f"{self.path}: {relative!r} is not in the bundle's list of files")
        try:
            return self.folder.check(relative)
        except FileNotFoundError as error:
            raise self._missing(relative) from error

    def graph(self, graph: Graph) -> Path:
        """The path of a graph's ONNX file, which has only what export writes; see `check_graph`.

        Raises:
            BundleError: as for `file` and `check_graph`.
        """
        path = self.file(graph.file)
        check_graph(path, branches=graph in self.manifest.graphs.get("conditional", ()))
        return path

    def place(self, relative: str) -> Path:
        """Where file `relative` may be written. BundleError where a link or a special file is on the way."""
        return self.folder.place(relative)

    def engine_folders(self) -> list[str]:
        """The names of the folders of engines in the bundle, sorted; hidden ones hold what is being built."""
        return [name for name in self.folder.folders(ENGINES_FOLDER) if not name.startswith(".")]

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
        self.file(relative)
        self._check_content(relative, self.manifest.files[relative])

    def _check_content(self, relative: str, metadata: FileMetadata) -> None:
        path, size = self.path / relative, 0
        for content in metadata.contents:
            try:
                sha256, size = self.folder.sha256(relative, content.bytes)
            except FileNotFoundError as error:  # the bundle was replaced meanwhile
                raise self._missing(relative) from error
            if (sha256, size) == (content.sha256, content.bytes):
                return
        if size != metadata.bytes:
            raise BundleError(f"{path}: has {size} bytes where {metadata.bytes} were written; copy the bundle again")
        raise BundleError(f"{path}: was changed after it was written (its SHA-256 differs); copy the bundle again")

    def _missing(self, relative: str) -> BundleError:
        return BundleError(
            f"{self.path / relative}: listed in {MANIFEST_FILE} but missing; copy or export the bundle again"
        )

    def _arrays(self, relative: str, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
        return read_sample_arrays(self.file(relative), names, self.manifest)
