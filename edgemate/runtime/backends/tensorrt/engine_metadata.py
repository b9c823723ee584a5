"""`<engine>.json`: what an engine is tied to and how it was built. It is a file beside the engine, not part of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from edgemate.bundle.manifest import FileMetadata, Layout
from edgemate.bundle.versioned_json import read_versioned

FORMAT_VERSION: Literal[1] = 1
MOST_BYTES = 16 << 20
"""Of the file; the names of some thousand layers are in it."""

# How the inspectors of 8.x and later spell a tensor's type → how edgemate does.
_PRECISIONS = {
    "fp32": "fp32",
    "float": "fp32",
    "tf32": "fp32",
    "fp16": "fp16",
    "half": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}

_BATCH = re.compile(r"[0-9]{1,6}:[0-9]{1,6}:[0-9]{1,6}")
_MOST_CORES = 15

LayerPrecisions = dict[str, dict[str, int]]


class EngineMetadata(BaseModel):
    """One engine.

    Attributes:
        edgemate: version that built it.
        created: when.
        layout: segments, prefixes or conditional.
        exit: of its graph, 1-based.
        onnx: the ONNX file it was built from, relative to the bundle.
        onnx_sha256: that file's.
        engine: the engine's own size and hash.
        library: `tensorrt` or `tensorrt_rtx`.
        version: the library's.
        gpu: the GPU it was built on; None when it was built ahead of time.
        board: the board or processor that GPU was on; None when it was built ahead of time, or by an earlier version.
        multiprocessors: of that GPU; likewise.
        memory_gib: of that GPU; likewise.
        compute_capabilities: of that GPU, or those it was built for.
        driver: at the time.
        system: operating system and processor architecture.
        precision: of the bundle's graphs: fp32, fp16, int8 or int8+fp16.
        layer_precisions: read back from the engine: layer type → precision of the first input → layers. None when it
            could not be read: built ahead of time, or with another profiling verbosity than `detailed`.
        gpu_layers: with a DLA core: the layers that run on the GPU all the same.
        options: the options that it was built with.
        build_seconds: how long that took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    edgemate: str
    created: AwareDatetime
    layout: Layout
    exit: Annotated[int, Field(ge=1)]
    onnx: str
    onnx_sha256: str
    engine: FileMetadata
    library: Literal["tensorrt", "tensorrt_rtx"]
    version: Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9}){0,9}$")]
    gpu: str | None
    board: str | None = None
    multiprocessors: int | None = None
    memory_gib: int | None = None
    compute_capabilities: tuple[str, ...]
    driver: str | None
    system: str
    precision: str
    layer_precisions: LayerPrecisions | None
    gpu_layers: tuple[str, ...] = ()
    options: dict[str, Any]
    build_seconds: float

    @model_validator(mode="after")
    def _options_can_be_used(self) -> EngineMetadata:
        batch, core = self.options.get("batch"), self.options.get("dla_core")
        if not isinstance(batch, str) or not _BATCH.fullmatch(batch):
            raise ValueError(f"options.batch: is not min:opt:max, but {str(batch)[:40]!r}")
        if core is not None and (not isinstance(core, int) or not 0 <= core <= _MOST_CORES):
            raise ValueError(f"options.dla_core: is not a core from 0 to {_MOST_CORES}, but {str(core)[:40]!r}")
        return self


def metadata_path(engine: Path) -> Path:
    """Path of the metadata of the engine in file `engine`."""
    return engine.with_name(engine.name + ".json")


def read_engine_metadata(engine: Path, content: bytes | None = None) -> EngineMetadata:
    """The metadata of the engine in file `engine`, of which `content` was read; BundleError if it is damaged."""
    return read_versioned(metadata_path(engine), EngineMetadata, FORMAT_VERSION, content=content)


def layer_precisions(information: str) -> LayerPrecisions | None:
    """Layer type → precision → number of layers, from the inspector's JSON.

    A layer's precision is the type of its first input, or of its first output where it takes nothing: a convolution
    that reads int8 computes in int8 whatever it writes. None where the engine tells no more than its layers' names.
    """
    layers = _layers(information)
    if not layers:
        return None
    found: LayerPrecisions = {}
    for layer in layers:
        of_type = found.setdefault(str(layer.get("LayerType", "unknown")), {})
        precision = _precision(layer)
        of_type[precision] = of_type.get(precision, 0) + 1
    return {kind: dict(sorted(counts.items())) for kind, counts in sorted(found.items())}


def layers_off_dla(information: str) -> tuple[str, ...]:
    """The names of the layers that run on the GPU, from the inspector's JSON. Copies between formats do not count."""
    return tuple(
        str(layer.get("Name", "?"))
        for layer in _layers(information)
        if layer.get("LayerType") not in ("DLA", "Reformat", "NoOp")
    )


def _layers(information: str) -> list[dict[str, Any]]:
    try:
        layers = json.loads(information).get("Layers", [])
    except (AttributeError, ValueError):  # some versions write what is no JSON for some engines
        return []
    return [layer for layer in layers if isinstance(layer, dict)]


def _precision(layer: dict[str, Any]) -> str:
    for tensor in (*layer.get("Inputs", ()), *layer.get("Outputs", ())):
        for word in re.findall(r"[a-z]+\d*", str(tensor.get("Format/Datatype", "")).lower()):
            if word in _PRECISIONS:
                return _PRECISIONS[word]
    return "unknown"
