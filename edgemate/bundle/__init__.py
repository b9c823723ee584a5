"""The folder that goes to the device: its manifest, and how it is written, opened and checked."""

from edgemate.bundle.locking import writing_bundle
from edgemate.bundle.manifest import (
    BundleMetadata,
    ExitMetadata,
    Graph,
    InputContract,
    Manifest,
    PrecisionMetadata,
    Tensor,
)
from edgemate.bundle.reading import (
    CALIBRATION_FILE,
    ENGINES_FOLDER,
    LATENCY_FOLDER,
    Bundle,
    CalibrationLogits,
    Golden,
)
from edgemate.bundle.writing import BundleWriter, replace_file

__all__ = [
    "CALIBRATION_FILE",
    "ENGINES_FOLDER",
    "LATENCY_FOLDER",
    "Bundle",
    "BundleMetadata",
    "BundleWriter",
    "CalibrationLogits",
    "ExitMetadata",
    "Golden",
    "Graph",
    "InputContract",
    "Manifest",
    "PrecisionMetadata",
    "Tensor",
    "replace_file",
    "writing_bundle",
]
