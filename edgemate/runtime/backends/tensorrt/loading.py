"""Which engines fit this device, and opening them. One that does not fit is refused with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate import files
from edgemate.bundle import Bundle, Graph
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError, BundleError
from edgemate.runtime.backends.tensorrt.compat import FLAVOURS, TensorRT
from edgemate.runtime.backends.tensorrt.device import Device
from edgemate.runtime.backends.tensorrt.engine_metadata import EngineMetadata, read_engine_metadata

ENGINES_FOLDER = "engines"


@dataclass(frozen=True)
class EngineFile:
    """An engine on disk, its metadata, and the graph it was built from."""

    path: Path
    metadata: EngineMetadata
    graph: Graph


def find_engines(bundle: Bundle, trt: TensorRT, layout: Layout) -> list[EngineFile]:
    """The engines of a layout that this device and this TensorRT can run, in the manifest's order.

    Those built here come first; then those of other folders that were built to be run elsewhere too.

    Raises:
        BackendError: there is no GPU; there are no engines; or none fits: the message says why the first does not, and
            the command that builds them.
        BundleError: the bundle has no graphs of this layout.
    """
    device = trt.require_device()
    graphs = graphs_of(bundle, layout)
    refusals = []
    for folder in _folders(bundle, engine_tag(trt, device)):
        paths = [folder / engine_name(graph) for graph in graphs]
        if not any(path.is_file() for path in paths):
            continue
        try:
            return _fitting(bundle, trt, device, paths, graphs)
        except (BackendError, BundleError) as error:
            refusals.append(str(error))
    wanted = f"edgemate build {bundle.path}" + ("" if layout == "segments" else f" --layouts {layout}")
    if refusals:
        raise BackendError(f"{refusals[0]}; build it again on this device: {wanted}")
    raise BackendError(
        f"{bundle.path}: has no engines of its {layout} for {device.name} and {trt.name}; build them here: {wanted}"
    )


def open_engine(trt: TensorRT, engine: EngineFile) -> Any:
    """The engine, deserialized and ready for execution contexts.

    Raises:
        BackendError: TensorRT refuses it; the message has its last errors.
    """
    options = engine.metadata.options
    runtime = trt.create_runtime(
        version_compatible=bool(options.get("version_compatible")), dla_core=options.get("dla_core")
    )
    opened = runtime.deserialize_cuda_engine(engine.path.read_bytes())
    bundle = engine.path.parents[2]
    if opened is None:
        raise BackendError(
            f"{engine.path}: {trt.name} cannot open it: {trt.last_errors()}; build it again: edgemate build {bundle}"
        )
    if options.get("strip_weights") and not trt.refit(opened, str(bundle / engine.graph.file)):
        raise BackendError(f"{engine.path}: its weights cannot be put back: {trt.last_errors()}")
    return opened


def check_engine(path: Path, bundle: Bundle, graph: Graph, trt: TensorRT, device: Device | None) -> EngineFile:
    """The engine in file `path`, if it is whole, was built from this bundle's graph, and this TensorRT runs it here.

    Args:
        path: the engine.
        bundle: whose graph it was built from.
        graph: that graph.
        trt: what is to run it.
        device: what is to run it; None where it only has to be whole and of the same version.

    Raises:
        BackendError: it is not.
        BundleError: its metadata cannot be read.
    """
    if not path.is_file():
        raise BackendError(f"{path}: is missing")
    metadata = read_engine_metadata(path)
    problem = _misfit(metadata, trt, device)
    if problem:
        raise BackendError(f"{path}: was built {problem}")
    if metadata.onnx_sha256 != bundle.manifest.files[graph.file].sha256:
        raise BackendError(f"{path}: was built from another {graph.file} than this bundle's")
    size = path.stat().st_size
    if size != metadata.engine.bytes:
        raise BackendError(f"{path}: has {size} bytes where {metadata.engine.bytes} were written")
    if files.sha256(path) != metadata.engine.sha256:
        raise BackendError(f"{path}: was changed after it was built (its SHA-256 differs)")
    return EngineFile(path, metadata, graph)


def graphs_of(bundle: Bundle, layout: Layout) -> tuple[Graph, ...]:
    """The graphs of a layout. BundleError where the bundle has none."""
    graphs = bundle.manifest.graphs.get(layout)
    if graphs is None:
        raise BundleError(f"{bundle.path}: has no {layout}, only {' and '.join(bundle.manifest.graphs)}")
    return graphs


def engine_tag(trt: TensorRT, device: Device) -> str:
    """The folder of what is built here: `nvidia-h200_sm90_trt10.3.0`."""
    return f"{device.tag}_{trt.tag}"


def engine_name(graph: Graph) -> str:
    """The engine's file name: `segment_1.engine` of `onnx/segment_1.onnx`."""
    return Path(graph.file).stem + ".engine"


def _folders(bundle: Bundle, own: str) -> Iterator[Path]:
    root = bundle.path / ENGINES_FOLDER
    found = sorted(folder for folder in root.glob("*") if folder.is_dir() and not folder.name.startswith("."))
    yield from sorted(found, key=lambda folder: folder.name != own)


def _fitting(
    bundle: Bundle, trt: TensorRT, device: Device, paths: list[Path], graphs: tuple[Graph, ...]
) -> list[EngineFile]:
    found = [check_engine(path, bundle, graph, trt, device) for path, graph in zip(paths, graphs, strict=True)]
    for engine in found[1:]:
        if engine.metadata.options != found[0].metadata.options:
            raise BackendError(f"{engine.path}: was built with other options than {found[0].path.name}")
    return found


def _misfit(metadata: EngineMetadata, trt: TensorRT, device: Device | None) -> str | None:
    """What keeps this TensorRT and device from running the engine, to stand after "was built"; None if nothing does."""
    options = metadata.options
    built_with = f"{FLAVOURS[metadata.library]} {metadata.version}"
    if metadata.library != trt.flavour:
        return f"with {built_with}, and this is {trt.name}"
    version = tuple(int(number) for number in metadata.version.split("."))
    if version != trt.version and not (options.get("version_compatible") and version < trt.version):
        return f"with {built_with}, and this is {trt.name}"
    if device is None:
        return None
    if metadata.system != device.system:
        return f"on {metadata.system}, and this is {device.system}"
    level = options.get("hardware_compatibility_level")
    here = device.compute_capability
    if level == "ampere_plus":
        return None if float(here) >= 8 else f"for compute capability 8.0 and above, and {device.name} has {here}"
    if here not in metadata.compute_capabilities:
        return f"for compute capability {', '.join(metadata.compute_capabilities)}, and {device.name} has {here}"
    if metadata.gpu not in (None, device.name) and level != "same_compute_capability":
        return f"on {metadata.gpu}, and this is {device.name}"
    return None
