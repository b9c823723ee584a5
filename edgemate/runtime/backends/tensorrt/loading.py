"""Which engines fit this device and may be run on it, and opening them. Others are refused with what to do about it.

An engine is code, so it is opened only where something besides the bundle vouches for it (`edgemate.trust`): this
machine built it, a trusted key signed it, or the user said so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate.bundle import ENGINES_FOLDER, Bundle, Graph
from edgemate.bundle.manifest import Layout
from edgemate.bundle.onnx_graph import check_graph
from edgemate.errors import BackendError, BundleError
from edgemate.runtime.backends.tensorrt.compat import FLAVOURS, TensorRT
from edgemate.runtime.backends.tensorrt.device import Device
from edgemate.runtime.backends.tensorrt.engine_metadata import (
    MOST_BYTES,
    EngineMetadata,
    metadata_path,
    read_engine_metadata,
)
from edgemate.trust import GuardedFolder


@dataclass(frozen=True)
class EngineFile:
    """An engine on disk, its metadata, the graph it was built from, and what vouches for it; None opens it nowhere."""

    path: Path
    metadata: EngineMetadata
    graph: Graph
    voucher: str | None = None


def find_engines(bundle: Bundle, trt: TensorRT, layout: Layout) -> list[EngineFile]:
    """The engines of a layout that this device and this TensorRT can and may run, in the manifest's order.

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
        paths = [bundle.path / folder / engine_name(graph) for graph in graphs]
        there = bundle.folder.names(folder)
        if not any(path.name in there for path in paths):
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
    """The engine, deserialized and ready for execution contexts. What is deserialized is what was vouched for.

    Raises:
        BackendError: nothing vouches for it; it was changed since; or TensorRT refuses it: the message has its last
            errors.
    """
    bundle = engine.path.parents[2]
    if engine.voucher is None:
        raise BackendError(_stranger(engine.path))
    folder = GuardedFolder(bundle)
    plan = _read(folder, engine.path)
    if hashlib.sha256(plan).hexdigest() != engine.metadata.engine.sha256:
        raise BackendError(f"{engine.path}: was changed after it was built (its SHA-256 differs)")
    options = engine.metadata.options
    runtime = trt.create_runtime(
        version_compatible=bool(options.get("version_compatible")), dla_core=options.get("dla_core")
    )
    opened = runtime.deserialize_cuda_engine(plan)
    if opened is None:
        raise BackendError(
            f"{engine.path}: {trt.name} cannot open it: {trt.last_errors()}; build it again: edgemate build {bundle}"
        )
    if options.get("strip_weights") and not trt.refit(opened, str(_weights(folder, engine.graph))):
        raise BackendError(f"{engine.path}: its weights cannot be put back: {trt.last_errors()}")
    return opened


def check_engine(path: Path, bundle: Bundle, graph: Graph, trt: TensorRT, device: Device | None) -> EngineFile:
    """The engine in file `path`, if it is whole, of this bundle's graph, runs here, and something vouches for it.

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
    folder, relative = bundle.folder, path.relative_to(bundle.path).as_posix()
    if not folder.has(relative):
        raise BackendError(f"{path}: is missing")
    described = _read(folder, metadata_path(path), MOST_BYTES)
    metadata = read_engine_metadata(path, described)
    problem = _misfit(metadata, trt, device)
    if problem:
        raise BackendError(f"{path}: was built {problem}")
    if metadata.onnx_sha256 != bundle.manifest.files[graph.file].sha256:
        raise BackendError(f"{path}: was built from another {graph.file} than this bundle's")
    # By the hash that it claims, before a file of any size is read for the one that it has.
    beside = (metadata_path(path).relative_to(bundle.path).as_posix(), hashlib.sha256(described).hexdigest())
    voucher = bundle.trust.voucher((relative, metadata.engine.sha256), beside)
    if voucher is None:
        raise BackendError(_stranger(path))
    sha256, size = folder.sha256(relative, metadata.engine.bytes)
    if size != metadata.engine.bytes:
        raise BackendError(f"{path}: has {size} bytes where {metadata.engine.bytes} were written")
    if sha256 != metadata.engine.sha256:
        raise BackendError(f"{path}: was changed after it was built (its SHA-256 differs)")
    return EngineFile(path, metadata, graph, voucher)


def graphs_of(bundle: Bundle, layout: Layout) -> tuple[Graph, ...]:
    """The graphs of a layout. BundleError where the bundle has none."""
    graphs = bundle.manifest.graphs.get(layout)
    if graphs is None:
        raise BundleError(f"{bundle.path}: has no {layout}, only {' and '.join(bundle.manifest.graphs)}")
    return graphs


def engine_tag(trt: TensorRT, device: Device) -> str:
    """The folder of what is built here: `nvidia-jetson-orin-nano-developer-kit_orin_sm87_8sm_8gib_trt10.3.0`."""
    return f"{device.tag}_{trt.tag}"


def engine_name(graph: Graph) -> str:
    """The engine's file name: `segment_1.engine` of `onnx/segment_1.onnx`."""
    return Path(graph.file).stem + ".engine"


def other_device(metadata: EngineMetadata, device: Device) -> str | None:
    """How the device that an engine was built on differs from this one, to stand after "was built"; None if not at all.

    Versions before recorded the GPU's name alone. That is enough for a graphics card, and not for a Jetson, where all
    modules of a generation have the same name.
    """
    if metadata.gpu != device.name:
        return f"on {metadata.gpu}, and this is {device.name}"
    if metadata.multiprocessors is None and metadata.board is None:
        if not device.system.endswith("aarch64"):
            return None
        return f"by an earlier edgemate, which did not record the board, and this is {device.board or device.name}"
    for what, there, here in (
        ("{}", metadata.board, device.board),
        ("a GPU of {} multiprocessors", metadata.multiprocessors, device.multiprocessors),
        ("a GPU of {} GiB", metadata.memory_gib, device.memory_gib),
    ):
        if there != here:
            return f"on {what.format(there)}, and this is {what.format(here)}"
    return None


def _folders(bundle: Bundle, own: str) -> Iterator[str]:
    for name in sorted(bundle.engine_folders(), key=lambda name: name != own):
        yield f"{ENGINES_FOLDER}/{name}"


def _read(folder: GuardedFolder, path: Path, most: int | None = None) -> bytes:
    try:
        return folder.read(path.relative_to(folder.path).as_posix(), most)
    except FileNotFoundError as error:
        raise BackendError(f"{path}: cannot be read: {error.strerror}") from error


def _weights(folder: GuardedFolder, graph: Graph) -> Path:
    path = folder.check(graph.file)
    check_graph(path, branches="conditional" in graph.file)
    return path


def _stranger(path: Path) -> str:
    return (
        f"{path}: is not known to be built by this machine, and an engine is code: have the bundle signed by a key of "
        "yours (`trusted_keys`), or run engines of any maker (`trust_engines`)"
    )


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
    if metadata.gpu is None or level == "same_compute_capability":
        return None
    return other_device(metadata, device)
