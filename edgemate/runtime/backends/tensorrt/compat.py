"""Every difference between TensorRT versions, and TensorRT-RTX. Nothing else in edgemate asks which one is installed.

Where a version lacks what an option needs, the message names the version that has it. What is there is looked up by
name, so that a version nobody has seen yet is judged by what it offers.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from typing import Any, Literal

from edgemate.errors import BackendError
from edgemate.progress import Progress
from edgemate.runtime.backends.tensorrt.device import Device, find_device, require_gpu
from edgemate.runtime.backends.tensorrt.dla import check_dla_precision, take_and_give_fp16
from edgemate.runtime.backends.tensorrt.kernel_cache import KernelCache
from edgemate.runtime.backends.tensorrt.options import BuildOptions
from edgemate.runtime.backends.tensorrt.reporting import make_logger, make_progress_monitor

Flavour = Literal["tensorrt", "tensorrt_rtx"]

FLAVOURS: dict[Flavour, str] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}

_INSTALL: dict[Flavour, str] = {
    "tensorrt": "on a Jetson it is JetPack's own (apt install python3-libnvinfer, and a virtual environment made with "
    "--system-site-packages), elsewhere pip install tensorrt",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13",
}

_FIXED_TYPE = ("CAST", "CONSTANT", "DEQUANTIZE", "IDENTITY", "QUANTIZE", "SHAPE")


def load_tensorrt(flavour: Flavour | None = None) -> TensorRT:
    """The installed TensorRT.

    Without a GPU, TensorRT ends the whole process instead of raising, so a GPU is looked for before it is imported.
    TensorRT-RTX can build ahead of time, and is given without one: its `device` is None then.

    Args:
        flavour: which one; by default TensorRT where it is installed, else TensorRT-RTX.

    Raises:
        BackendError: it is not installed or cannot be imported, or it is TensorRT and there is no GPU.
    """
    if flavour is None:
        flavour = "tensorrt_rtx" if is_installed("tensorrt_rtx") and not is_installed("tensorrt") else "tensorrt"
    return _load(flavour)


def is_installed(flavour: Flavour) -> bool:
    """Whether its package is here; nothing is imported."""
    try:
        return importlib.util.find_spec(flavour) is not None
    except ValueError:  # a module without a spec, or one that was marked as absent
        return False


@functools.lru_cache  # it has one logger per process, which must be the one that messages are read from
def _load(flavour: Flavour) -> TensorRT:
    name = FLAVOURS[flavour]
    device = require_gpu(name) if flavour == "tensorrt" else find_device()
    try:
        module = importlib.import_module(flavour)
    except Exception as error:  # besides ImportError, its installers and libraries raise whatever they like
        reason = " ".join(str(error).split())
        raise BackendError(f"{name} cannot be imported ({reason}); {_INSTALL[flavour]}") from error
    return TensorRT(module, flavour, device)


class TensorRT:
    """One TensorRT, with its differences from others behind methods.

    Attributes:
        module: the imported library; its names are the same in all versions unless a method here covers them.
        flavour: `tensorrt` or `tensorrt_rtx`, which is also the module's name.
        version: major, minor, patch.
        device: the GPU, or None.
        logger: keeps TensorRT's last errors; hand it to everything that wants one.
    """

    def __init__(self, module: Any, flavour: Flavour, device: Device | None) -> None:
        self.module = module
        self.flavour = flavour
        self.version = tuple(int(number) for number in re.findall(r"\d+", module.__version__)[:3])
        self.device = device
        self.logger = make_logger(module)
        self._kernels: KernelCache | None = None

    @property
    def is_rtx(self) -> bool:
        """Whether this is TensorRT-RTX."""
        return self.flavour == "tensorrt_rtx"

    @property
    def name(self) -> str:
        """`TensorRT 10.3.0`."""
        return f"{FLAVOURS[self.flavour]} {self.version_text}"

    @property
    def version_text(self) -> str:
        """`10.3.0`."""
        return ".".join(map(str, self.version))

    @property
    def tag(self) -> str:
        """`trt10.3.0` or `rtx1.7.1`, for names of files and folders."""
        return f"{'rtx' if self.is_rtx else 'trt'}{self.version_text}"

    def require_device(self) -> Device:
        """The GPU. BackendError where there is none."""
        return self.device or require_gpu(self.name)

    def last_errors(self) -> str:
        """TensorRT's own last errors in one line; they are forgotten then."""
        reasons: str = self.logger.reasons()
        self.logger.forget()
        return reasons or "it gives no reason"

    # Building

    def create_builder(self, options: BuildOptions) -> Any:
        """A builder. BackendError where TensorRT cannot make one, or there is no GPU and one is needed."""
        if not options.compute_capabilities:
            self.require_device()
        elif not self.is_rtx:
            raise BackendError(f"compute_capability: needs TensorRT-RTX; this is {self.name}")
        self.logger.forget()
        try:
            builder = self.module.Builder(self.logger)
        except TypeError as error:  # "factory function returned nullptr"
            raise BackendError(f"{self.name} cannot start its builder: {self.last_errors()}") from error
        return builder

    def is_strongly_typed(self, options: BuildOptions) -> bool:
        """Whether a network gets its precision from the ONNX file alone.

        8.x has no such networks. On a DLA, versions that still have precision flags want those.
        """
        if self._find("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") is None:
            return False
        return options.dla_core is None or self._find("BuilderFlag", "FP16") is None

    def network_flags(self, options: BuildOptions) -> int:
        """What `Builder.create_network` takes: strongly typed where the version has that, else explicit batch."""
        if self.is_strongly_typed(options):
            flag = self._find("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
        else:
            flag = self._find("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")
        return 0 if flag is None else 1 << int(flag)

    def create_network(self, builder: Any, options: BuildOptions) -> Any:
        """An empty network."""
        return builder.create_network(self.network_flags(options))

    def apply(self, config: Any, options: BuildOptions, builder: Any) -> None:
        """Set every option but batch, precision and timing cache.

        Raises:
            BackendError: an option needs another version or device; the message names it.
        """
        module = self.module
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        if options.builder_optimization_level is not None:
            self._require("IBuilderConfig", "builder_optimization_level", "builder_optimization_level", "8.6")
            config.builder_optimization_level = options.builder_optimization_level
        config.profiling_verbosity = getattr(module.ProfilingVerbosity, options.profiling_verbosity.upper())
        self._leave_out_external_kernels(config)
        if options.version_compatible:
            self._refuse_ahead_of_time("version_compatible", options)
            config.set_flag(self._require("BuilderFlag", "VERSION_COMPATIBLE", "version_compatible", "8.6"))
        if options.strip_weights:
            self._refuse_ahead_of_time("strip_weights", options)
            config.set_flag(self._require("BuilderFlag", "STRIP_PLAN", "strip_weights", "10.0"))
        user_allocation = self._find("BuilderFlag", "REQUIRE_USER_ALLOCATION")
        if user_allocation is not None:  # what the library allocates at run time cannot be captured in a CUDA graph
            config.set_flag(user_allocation)
        sharing = self._find("PreviewFeature", "PROFILE_SHARING_0806")
        if sharing is not None and self.version < (10,):  # all contexts may use the profile; later they do anyway
            config.set_preview_feature(sharing, True)
        if options.sparsity:
            config.set_flag(module.BuilderFlag.SPARSE_WEIGHTS)
        if not options.tf32:
            config.clear_flag(module.BuilderFlag.TF32)
        if options.hardware_compatibility_level != "none":
            self._set_hardware_compatibility(config, options.hardware_compatibility_level)
        if options.dla_core is not None:
            self._set_dla(config, options, builder)
        if options.compute_capabilities:
            self._set_compute_capabilities(config, options.compute_capabilities)

    def set_precision(self, config: Any, network: Any, precision: str, options: BuildOptions) -> None:
        """Let the engine compute in the precision that the ONNX file has.

        A strongly typed network does so by itself. Otherwise the flags allow it, and what the file holds in fp32 is
        kept there, since a flag alone would let TensorRT choose fp16 for that too.

        Args:
            config: the builder's.
            network: parsed already.
            precision: `fp32`, `fp16`, `int8` or `int8+fp16`.
            options: the build's.

        Raises:
            BackendError: a DLA cannot compute in that precision.
        """
        if options.dla_core is not None:
            check_dla_precision(precision)
            take_and_give_fp16(self, network)
        if self.is_strongly_typed(options):
            return
        parts = precision.split("+")
        for part, flag in (("fp16", "FP16"), ("int8", "INT8")):
            if part in parts:
                config.set_flag(getattr(self.module.BuilderFlag, flag))
        if "fp16" in parts and options.dla_core is None:
            config.set_flag(self.module.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
            self._keep_fp32(network)

    def progress_monitor(self, config: Any, progress: Progress) -> Any | None:
        """Have the build report its progress. The monitor, or None: 8.x does not report it."""
        monitor = make_progress_monitor(self.module, progress)
        if monitor is not None:
            config.progress_monitor = monitor
        return monitor

    @property
    def cast_types(self) -> tuple[Any, ...]:
        """The types of layers that convert from one precision to another: 8.5 has no CAST."""
        found = (self._find("LayerType", name) for name in ("CAST", "IDENTITY"))
        return tuple(kind for kind in found if kind is not None)

    @property
    def has_timing_cache(self) -> bool:
        """Whether the builder measures kernels. TensorRT-RTX chooses them when the engine first runs."""
        return not self.is_rtx

    # Loading and running

    def create_runtime(self, *, version_compatible: bool = False, dla_core: int | None = None) -> Any:
        """A runtime that can open an engine of those options. BackendError where there is no GPU."""
        self.require_device()
        self.logger.forget()
        runtime = self.module.Runtime(self.logger)
        if version_compatible:  # such an engine carries the runtime that runs it
            self._require("Runtime", "engine_host_code_allowed", "version_compatible", "8.6")
            runtime.engine_host_code_allowed = True
        if dla_core is not None:
            runtime.DLA_core = dla_core
        return runtime

    def refit(self, engine: Any, onnx: str) -> bool:
        """Put the weights of ONNX file `onnx` into an engine that was built without; whether that worked.

        Raises:
            BackendError: this version cannot.
        """
        self._require("OnnxParserRefitter", "refit_from_file", "an engine built with strip_weights", "10.0")
        refitter = self.module.Refitter(engine, self.logger)
        return bool(
            self.module.OnnxParserRefitter(refitter, self.logger).refit_from_file(onnx) and refitter.refit_cuda_engine()
        )

    def scratch_bytes(self, engine: Any) -> int:
        """Bytes of working memory that a context of `engine` needs on the device."""
        if self._find("ICudaEngine", "device_memory_size_v2") is None:
            return int(engine.device_memory_size)
        return int(engine.device_memory_size_v2)

    @property
    def shares_profiles(self) -> bool:
        """Whether an engine of dynamic shapes, built by `apply`, may have several contexts in its one profile.

        8.5 allows one context per profile, 8.6 several where the engine was built so, and later versions always.
        """
        return self.is_rtx or self.version >= (8, 6)

    def create_execution_context(self, engine: Any, scratch: int, *, library_graphs: bool = False) -> Any | None:
        """A context that works in the device memory at address `scratch`, of `scratch_bytes`. None if that failed.

        With `library_graphs` the library makes CUDA graphs by itself, where it can (`has_graphs`).
        """
        strategy = self._find("ExecutionContextAllocationStrategy", "USER_MANAGED")
        kernels = self.kernels
        if kernels is not None:
            config = kernels.configure(self.module, engine, library_graphs=library_graphs)
            context = engine.create_execution_context(config)
        elif strategy is None:
            context = engine.create_execution_context_without_device_memory()
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            return None
        if self._find("IExecutionContext", "set_device_memory") is None:
            context.device_memory = scratch
        else:
            context.set_device_memory(scratch, self.scratch_bytes(engine))
        return context

    @property
    def kernels(self) -> KernelCache | None:
        """The kernels that are compiled at run time; None where the builder has chosen them all."""
        if self._kernels is None and self._find("IRuntimeConfig", "create_runtime_cache") is not None:
            self._kernels = KernelCache(f"{self.require_device().tag}_{self.tag}")
        return self._kernels

    @property
    def has_graphs(self) -> bool:
        """Whether the library can make CUDA graphs by itself."""
        return self._find("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE") is not None

    def is_capturable(self, context: Any, stream: Any) -> bool:
        """Whether the work of `context` on `stream` can be captured; where the version cannot say, trying will tell."""
        if self._find("IExecutionContext", "is_stream_capturable") is None:
            return True
        return bool(context.is_stream_capturable(int(stream)))

    def hardware_compatibility_level(self, engine: Any) -> str:
        """The level that a built engine really has."""
        if self._find("ICudaEngine", "hardware_compatibility_level") is None:
            return "none"
        return str(engine.hardware_compatibility_level.name).lower()

    def engine_information(self, engine: Any) -> str:
        """The inspector's JSON."""
        text: str = engine.create_engine_inspector().get_engine_information(self.module.LayerInformationFormat.JSON)
        return text

    def dla_cores(self) -> int | None:
        """How many Deep Learning Accelerators there are here; None for a version that uses none.

        Raises:
            BackendError: there is no GPU.
        """
        if self.is_rtx or self._lacks_dla:
            return None
        return int(self.create_runtime().num_DLA_cores)

    # Below: what the above need

    def _find(self, owner: str, member: str) -> Any | None:
        return getattr(getattr(self.module, owner, None), member, None)

    def _require(self, owner: str, member: str, option: str, since: str) -> Any:
        found = self._find(owner, member)
        if found is None:
            raise BackendError(f"{option}: needs TensorRT ≥ {since}; this is {self.name}")
        return found

    @property
    def _lacks_dla(self) -> bool:
        return (10, 8) <= self.version < (11, 4, 1)

    def _refuse_ahead_of_time(self, option: str, options: BuildOptions) -> None:
        if options.compute_capabilities:
            raise BackendError(f"{option}: {self.name} cannot do that ahead of time; leave out compute_capability")

    def _leave_out_external_kernels(self, config: Any) -> None:
        # 10.x no longer asks cuBLAS and cuDNN unless told to, 11 cannot; so 8.x need not have them installed either.
        external = [self._find("TacticSource", name) for name in ("CUBLAS", "CUBLAS_LT", "CUDNN")]
        mask = sum(1 << int(source) for source in external if source is not None)
        if mask:
            config.set_tactic_sources(config.get_tactic_sources() & ~mask)

    def _set_hardware_compatibility(self, config: Any, level: str) -> None:
        option = f"hardware_compatibility_level {level}"
        if self.is_rtx:
            raise BackendError(f"{option}: needs TensorRT ≥ 8.6; this is {self.name}, which has compute_capability")
        since = "8.6" if level == "ampere_plus" else "10.13"
        config.hardware_compatibility_level = self._require("HardwareCompatibilityLevel", level.upper(), option, since)

    def _set_dla(self, config: Any, options: BuildOptions, builder: Any) -> None:
        if self.is_rtx or self._lacks_dla:
            raise BackendError(
                f"use_dla_core {options.dla_core}: needs TensorRT ≤ 10.7 or ≥ 11.4.1; this is {self.name}"
            )
        cores = builder.num_DLA_cores
        if options.dla_core not in range(cores):
            raise BackendError(f"use_dla_core {options.dla_core}: this device has {cores or 'no'} DLA cores")
        config.default_device_type = self.module.DeviceType.DLA
        config.DLA_core = options.dla_core
        if options.allow_gpu_fallback:
            config.set_flag(self.module.BuilderFlag.GPU_FALLBACK)

    def _set_compute_capabilities(self, config: Any, capabilities: tuple[str, ...]) -> None:
        known = self.module.ComputeCapability
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            member = getattr(known, "SM" + capability.replace(".", ""), None)
            if member is None:
                names = sorted(int(name[2:]) for name in dir(known) if re.fullmatch(r"SM\d+", name))
                listed = ", ".join(f"{number // 10}.{number % 10}" for number in names)
                raise BackendError(f"compute_capability {capability}: {self.name} builds for {listed}")
            config.set_compute_capability(member, index)

    def _keep_fp32(self, network: Any) -> None:
        module = self.module
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        from_int8 = {layer.get_output(0).name for layer in layers if layer.type == module.LayerType.DEQUANTIZE}
        # These have the type of their weights, or of what they convert to, whatever the flags say.
        fixed = [self._find("LayerType", name) for name in _FIXED_TYPE]
        for layer in layers:
            outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
            inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
            if layer.type in fixed or any(tensor is not None and tensor.name in from_int8 for tensor in inputs):
                continue
            if outputs and all(tensor.dtype == module.DataType.FLOAT for tensor in outputs):
                layer.precision = module.DataType.FLOAT
