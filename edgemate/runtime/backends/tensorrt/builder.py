"""From ONNX files to engines, on the device that will run them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgemate import __version__, files
from edgemate.bundle import ENGINES_FOLDER, Bundle, Graph
from edgemate.bundle.manifest import FileMetadata, Layout
from edgemate.errors import BackendError, BundleError
from edgemate.progress import SILENT, Progress
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.device import sm, this_system
from edgemate.runtime.backends.tensorrt.engine_metadata import (
    EngineMetadata,
    layer_precisions,
    layers_off_dla,
    metadata_path,
)
from edgemate.runtime.backends.tensorrt.formats import set_formats
from edgemate.runtime.backends.tensorrt.loading import (
    EngineFile,
    check_engine,
    engine_name,
    engine_tag,
    graphs_of,
    open_engine,
)
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions
from edgemate.runtime.backends.tensorrt.publishing import publish
from edgemate.runtime.backends.tensorrt.timing_cache import TimingCache, default_folder
from edgemate.trust import Ledger
from edgemate.trust.vouching import BUILT_HERE


def build_bundle_engines(
    bundle: Bundle,
    trt: TensorRT,
    options: BuildOptions,
    *,
    layouts: Sequence[Layout] = ("segments",),
    rebuild: bool = False,
    check: Callable[[Layout, Sequence[EngineFile]], bool] | None = None,
    progress: Progress = SILENT,
) -> list[EngineFile]:
    """Build the engines of a bundle into `engines/<tag>/`, with their metadata beside them.

    A layout's engines take their place when all of them are built and checked. Until then they are in a hidden folder
    beside it. A build that fails or is stopped leaves the engines that existed before, and the next build continues
    with those that were finished. `build_proved_engines` is the function to call: it passes the check. Every engine is
    recorded in the list of what this machine built (`edgemate.trust.Ledger`), without which it is not loaded.

    Args:
        bundle: an opened bundle.
        trt: what builds them.
        options: how.
        layouts: which of its graphs.
        rebuild: also build engines that exist, from the same graphs and with the same options.
        check: called with each layout and its engines before they take their place; those it returns False for are
            removed. Where it raises, they stay in the hidden folder.
        progress: receives the steps.

    Returns:
        The engines of these layouts that took their place, in order.

    Raises:
        BackendError: an option is unavailable here, TensorRT cannot build a graph, or the list or the engines cannot be
            written.
        BundleError: the bundle has no graphs of a layout.
    """
    tag = _tag(trt, options)
    there = bundle.path / ENGINES_FOLDER / tag
    waiting = there.with_name(f".{tag}.part")
    _check_places(bundle, there, waiting)
    Ledger.of_this_user().prepare()
    found: list[EngineFile] = []
    try:
        for layout in layouts:
            ready = []
            for graph in graphs_of(bundle, layout):
                bundle.graph(graph)  # checked before TensorRT parses it
                engine = None if rebuild else _built_before(bundle, graph, trt, options, (there, waiting))
                if engine is None:
                    progress.step(f"{graph.file}: building")
                    engine = _build(bundle, layout, graph, trt, options, waiting, progress)
                ready.append(engine)
            if check is None or check(layout, ready):
                found += publish(ready, there)
            else:
                remove_engines(ready)
        if waiting.is_dir() and not any(waiting.iterdir()):
            waiting.rmdir()
    except OSError as error:
        raise BackendError(f"{there}: engines cannot be written: {error.strerror or error}") from error
    return found


def remove_engines(engines: Sequence[EngineFile]) -> None:
    """Remove engines that turned out to be wrong, metadata first, so that nothing ever loads them again."""
    for engine in engines:
        metadata_path(engine.path).unlink(missing_ok=True)
        engine.path.unlink(missing_ok=True)


def build_engine(
    trt: TensorRT, onnx: Path, options: BuildOptions, precision: str = "fp32", progress: Progress = SILENT
) -> bytes:
    """Build one engine.

    Args:
        trt: what builds it.
        onnx: the graph; the first dimension of its images and features is the batch.
        options: how.
        precision: of the graph: `fp32`, `fp16`, `int8` or `int8+fp16`.
        progress: receives the progress of the build, where the version reports it.

    Raises:
        BackendError: an option is unavailable here, or TensorRT cannot parse or build the graph: the message has its
            own last errors and the layer.
    """
    builder = trt.create_builder(options)
    network = trt.create_network(builder, options)
    parser = trt.module.OnnxParser(network, trt.logger)  # it owns the weights, and so must outlive the build
    _parse(trt, parser, onnx)
    set_formats(trt, network, options)
    config = builder.create_builder_config()
    trt.apply(config, options, builder)
    trt.set_precision(config, network, precision, options)
    _add_profile(builder, network, config, options.batch, onnx)
    cache = _timing_cache(trt, options)
    if cache is not None:
        _or_tell(lambda: cache.load(config), progress)
    monitor = trt.progress_monitor(config, progress)
    # A version that tells how far it is needs no thread beside the kernels that it times.
    with progress.unattended() if monitor is None else contextlib.nullcontext():
        plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise BackendError(_build_failure(trt, onnx))
    if cache is not None:
        _or_tell(lambda: cache.save(config), progress)
    return bytes(plan)


def precision_of(bundle: Bundle) -> str:
    """The precision of a bundle's graphs, as its manifest says; fp32 where it says nothing."""
    precision = bundle.manifest.precision
    return "fp32" if precision is None else precision.name


def _tag(trt: TensorRT, options: BuildOptions) -> str:
    if options.compute_capabilities:
        return f"{'-'.join(map(sm, options.compute_capabilities))}_{trt.tag}"
    return engine_tag(trt, trt.require_device())


def _check_places(bundle: Bundle, *folders: Path) -> None:
    for folder in folders:
        try:
            bundle.place((folder / "engine").relative_to(bundle.path).as_posix())
        except BundleError as error:
            raise BackendError(f"{folder}: engines cannot be written: {error}") from error


def _built_before(
    bundle: Bundle, graph: Graph, trt: TensorRT, options: BuildOptions, folders: Sequence[Path]
) -> EngineFile | None:
    for folder in folders:
        device = None if options.compute_capabilities else trt.require_device()
        try:
            engine = check_engine(folder / engine_name(graph), bundle, graph, trt, device)
        except (BackendError, BundleError):
            continue
        if engine.metadata.options == options.metadata():
            return engine
    return None


def _build(
    bundle: Bundle,
    layout: Layout,
    graph: Graph,
    trt: TensorRT,
    options: BuildOptions,
    folder: Path,
    progress: Progress,
) -> EngineFile:
    precision = precision_of(bundle)
    started = time.perf_counter()
    plan = build_engine(trt, bundle.graph(graph), options, precision, progress)
    seconds = time.perf_counter() - started
    device = None if options.compute_capabilities else trt.require_device()
    metadata = EngineMetadata(
        edgemate=__version__,
        created=datetime.now(timezone.utc).replace(microsecond=0),
        layout=layout,
        exit=graph.exit,
        onnx=graph.file,
        onnx_sha256=bundle.manifest.files[graph.file].sha256,
        engine=FileMetadata(sha256=hashlib.sha256(plan).hexdigest(), bytes=len(plan)),
        library=trt.flavour,
        version=trt.version_text,
        gpu=device and device.name,
        board=device and device.board,
        multiprocessors=device and device.multiprocessors,
        memory_gib=device and device.memory_gib,
        compute_capabilities=(device.compute_capability,) if device else options.compute_capabilities,
        driver=device and device.driver,
        system=this_system(),
        precision=precision,
        layer_precisions=None,
        options=options.metadata(),
        build_seconds=round(seconds, 3),
    )
    engine = EngineFile(folder / engine_name(graph), metadata, graph, BUILT_HERE)
    metadata_path(engine.path).unlink(missing_ok=True)  # of an engine that waited here, built otherwise
    files.write_bytes(engine.path, plan)
    if device is not None:
        progress.step(f"{graph.file}: reading the engine back")
        try:
            engine = replace(engine, metadata=_read_back(trt, options, engine))
        except BackendError:
            engine.path.unlink()
            raise
    described = (json.dumps(engine.metadata.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
    Ledger.of_this_user().record(metadata.engine.sha256, hashlib.sha256(described).hexdigest())
    files.write_bytes(metadata_path(engine.path), described)
    return engine


def _read_back(trt: TensorRT, options: BuildOptions, engine: EngineFile) -> EngineMetadata:
    opened = open_engine(trt, engine)
    wanted, level = options.hardware_compatibility_level, trt.hardware_compatibility_level(opened)
    if level != wanted:
        raise BackendError(
            f"{engine.graph.file}: hardware_compatibility_level {wanted}: {trt.name} ignored it, "
            f"the engine it built has {level}"
        )
    information = trt.engine_information(opened)
    return engine.metadata.model_copy(
        update={
            "layer_precisions": layer_precisions(information),
            "gpu_layers": () if options.dla_core is None else layers_off_dla(information),
        }
    )


def _parse(trt: TensorRT, parser: Any, onnx: Path) -> None:
    if parser.parse_from_file(str(onnx)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    message = "; ".join(dict.fromkeys(_parser_error(error) for error in errors)) or trt.last_errors()
    raise BackendError(f"{onnx}: {trt.name} cannot parse it: {message}")


def _parser_error(error: Any) -> str:
    message = " ".join(str(error.desc()).split())
    if error.node() < 0:  # the file as a whole
        return message
    where = f"node {error.node()}"
    if hasattr(error, "node_name"):  # 10.x and later
        where += f" {error.node_name()} ({error.node_operator()})"
    return f"{where}: {message}"


def _add_profile(builder: Any, network: Any, config: Any, batch: BatchRange, onnx: Path) -> None:
    shapes = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise BackendError(f"{onnx}: input {tensor.name} has another dynamic dimension than the batch: {shape}")
        if shape[:1] == (-1,):
            shapes[tensor.name] = [(size, *shape[1:]) for size in (batch.min, batch.opt, batch.max)]
    if not shapes:  # the conditional graph takes one image
        return
    profile = builder.create_optimization_profile()
    for name, sizes in shapes.items():
        profile.set_shape(name, *sizes)
    config.add_optimization_profile(profile)


def _timing_cache(trt: TensorRT, options: BuildOptions) -> TimingCache | None:
    if not trt.has_timing_cache:
        return None
    return TimingCache(options.timing_cache or default_folder(), engine_tag(trt, trt.require_device()))


def _or_tell(call: Callable[[], None], progress: Progress) -> None:
    # Timings only save time: a home that cannot be written to must not stop a build.
    try:
        call()
    except (OSError, BackendError) as error:
        progress.step(f"timings are not kept: {error}")


def _build_failure(trt: TensorRT, onnx: Path) -> str:
    message = trt.last_errors()
    layer = re.search(r"for (?:node|layer):? ?(\{[^}]*\}|[^\s;,)]+)", message)
    where = f" at layer {layer[1].rstrip('.')}" if layer else ""
    return f"{onnx}: {trt.name} cannot build it{where}: {message}"
