"""The folder that goes to the device: its manifest, and how it is written, opened and checked."""

from edgemate.bundle.manifest import (
    BundleFacts,
    ExitFacts,
    Graph,
    InputContract,
    Manifest,
    PrecisionFacts,
    Resize,
    Tensor,
)
from edgemate.bundle.reading import Bundle, Golden
from edgemate.bundle.writing import BundleWriter

__all__ = [
    "Bundle",
    "BundleFacts",
    "BundleWriter",
    "ExitFacts",
    "Golden",
    "Graph",
    "InputContract",
    "Manifest",
    "PrecisionFacts",
    "Resize",
    "Tensor",
]
