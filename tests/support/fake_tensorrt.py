"""TensorRT as it was and is, version by version, by name: what a version lacks raises AttributeError here too.

Only names are held to the real thing, those that edgemate touches and their neighbors that came or went. What a build
does is as little as the tests need: a plan that says how it was made.
"""

from __future__ import annotations

import enum
import json
import weakref
from types import ModuleType
from typing import Any

from tensorrt_names import API, names

from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.device import Device, this_system

ORIN = Device("Orin", "8.7", "CUDA 12.6", this_system(), "NVIDIA Jetson AGX Orin Developer Kit", 16, 64)


def opened(version: str, device: Device | None = ORIN) -> TensorRT:
    """The fake of a version as `load_tensorrt` gives it; its module is `.module`."""
    return TensorRT(FakeTensorRT(version), "tensorrt_rtx" if version.startswith("rtx") else "tensorrt", device)


class FakeTensorRT(ModuleType):
    """The module of one version.

    Attributes:
        inputs: name → shape, of every network that is parsed; `outputs` likewise.
        types: name → type of those that are not FLOAT.
        layers: (type, dtype of the input, dtype of the output) of every network that is parsed.
        parse_errors: what the parser finds wrong with the next file, and `parse_node` at which node.
        build_errors: what the builder logs instead of building.
        information: what the inspector says of every engine.
        ignores_hardware_compatibility: build for this GPU alone whatever was asked.
        dla_cores: how many there are.
        capturable: whether contexts can be captured in a CUDA graph.
        configs: of every build, in order; `networks` likewise.
    """

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt_rtx" if version.startswith("rtx") else "tensorrt")
        self.__version__ = version.removeprefix("rtx")
        self.inputs: dict[str, tuple[int, ...]] = {"image": (-1, 3, 8, 8)}
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, str] = {}
        self.networks: list[Any] = []
        self.layers: list[tuple[str, str, str]] = [("CONVOLUTION", "FLOAT", "FLOAT")]
        self.parse_errors: list[str] = []
        self.parse_node = 7
        self.build_errors: list[str] = []
        self.information = json.dumps({"Layers": []})
        self.ignores_hardware_compatibility = False
        self.dla_cores = 2
        self.capturable = True
        self.configs: list[Any] = []
        self.runtimes: list[Any] = []
        self._version = version
        for name in names("module", version):
            setattr(self, name, self._make(name))

    def _make(self, owner: str) -> Any:
        if owner in _TO_DERIVE_FROM:
            return type(owner, (), {})
        listed = names(owner, self._version) if owner in API else ()
        if listed and all(name == name.upper() for name in listed):
            return _Enum(owner, listed, start=0)
        return self.restrict(owner, _BEHAVIORS.get(owner, _Base))

    def restrict(self, owner: str, behavior: type) -> type:
        """`behavior` with the names that this version has, and no other."""
        listed = names(owner, self._version) if owner in API else ()
        given = {name: vars(behavior).get(name, _ignored) for name in listed}
        created = {"__init__": vars(behavior)["__init__"]} if "__init__" in vars(behavior) else {}
        return type(owner, (_Base,), {**created, **given, "_listed": listed, "_module": self})

    def member(self, owner: str, **state: Any) -> Any:
        """An object of a class that the module itself does not name."""
        return self.restrict(owner, _BEHAVIORS[owner])(**state)


class _Enum(enum.Enum):
    def __int__(self) -> int:
        return int(self.value)


def _ignored(self: Any, *arguments: Any) -> None: ...


class _Base:
    """Attributes that the version does not have cannot be set either, as with the real bindings."""

    _listed: tuple[str, ...]
    _module: FakeTensorRT

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in self._listed:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        vars(self)[name] = value


class _Builder:
    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.num_DLA_cores = self._module.dla_cores

    def create_builder_config(self) -> Any:
        return self._module.IBuilderConfig()

    def create_network(self, flags: int) -> Any:
        kinds = self._module.NetworkDefinitionCreationFlag
        given = {kind.name for kind in kinds if flags >> int(kind) & 1}
        implicit = "STRONGLY_TYPED" not in kinds.__members__ and "EXPLICIT_BATCH" not in given
        if flags >> len(kinds) or implicit:
            raise ValueError(f"no network of flags {flags}")
        return self._module.INetworkDefinition(given)

    def create_optimization_profile(self) -> Any:
        return self._module.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        module = self._module
        assert network._parser() is not None, "the weights were the parser's, and are gone with it"
        module.configs.append(config)
        monitor = vars(config).get("progress_monitor")
        if monitor is not None:
            monitor.phase_start("Building", None, 2)
            monitor.phase_start("Tactics", "Building", 9)
            for step in range(2):
                monitor.step_complete("Tactics", step)
                if not monitor.step_complete("Building", step):
                    return None
            monitor.phase_finish("Building")
        if module.build_errors:
            for error in module.build_errors:
                self._logger.log(module.Logger.WARNING, "not an error")
                self._logger.log(module.Logger.ERROR, error)
            return None
        level = vars(config).get("hardware_compatibility_level")
        if level is None or module.ignores_hardware_compatibility:
            return json.dumps({"level": "NONE"}).encode()
        return json.dumps({"level": level.name}).encode()


class _Config:
    def __init__(self) -> None:
        self._flags = {"TF32"}
        self._limits: dict[str, int] = {}
        self._profiles: list[Any] = []
        self._previews: set[str] = set()
        self._capabilities: dict[int, str] = {}
        self._cache: Any = None
        self._sources = (1 << len(self._module.TacticSource)) - 1

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_tactic_sources(self, sources: int) -> bool:
        self._sources = sources
        return True

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def set_preview_feature(self, feature: Any, on: bool) -> None:
        (self._previews.add if on else self._previews.discard)(feature.name)

    def set_memory_pool_limit(self, pool: Any, limit: int) -> None:
        self._limits[pool.name] = limit

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        self._capabilities[index] = capability.name
        return True

    def create_timing_cache(self, content: bytes) -> Any:
        if content and not content.startswith(b"timings"):
            raise TypeError("factory function returned nullptr")
        return self._module.ITimingCache(content)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return b"foreign" not in cache.serialize()

    def get_timing_cache(self) -> Any:
        return self._cache


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self._entries = set(content.split()) - {b"timings"}

    def combine(self, other: Any, ignore_mismatch: bool) -> bool:
        self._entries |= other._entries
        return True

    def serialize(self) -> bytes:
        return b" ".join([b"timings", *sorted(self._entries)])


class _Network:
    def __init__(self, flags: set[str]) -> None:
        self._flags = flags
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._layers: list[Any] = []
        self._module.networks.append(self)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, index: int) -> Any:
        return self._outputs[index]

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> Any:
        return self._layers[index]


class _Tensor:
    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape
        self.allowed_formats = 1 << int(self._module.TensorFormat.LINEAR)


class _Layer:
    def __init__(self, kind: Any, inputs: list[Any], output: Any) -> None:
        self.type = kind
        self.num_inputs, self.num_outputs = len(inputs), 1
        self._inputs, self._output = inputs, output

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    def get_output(self, index: int) -> Any:
        return self._output


class _Profile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, least: tuple[int, ...], best: tuple[int, ...], most: tuple[int, ...]) -> None:
        self._shapes[name] = [least, best, most]


class _Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        self._network = network
        self._errors: list[Any] = []
        network._parser = weakref.ref(self)

    def parse_from_file(self, path: str) -> bool:
        module, network = self._module, self._network
        self._errors = [module.member("ParserError", text=text) for text in module.parse_errors]
        types, kinds = module.DataType, module.LayerType
        for tensors, made in ((module.inputs, network._inputs), (module.outputs, network._outputs)):
            for name, shape in tensors.items():
                dtype = types[module.types.get(name, "FLOAT")]
                made.append(module.member("ITensor", name=name, dtype=dtype, shape=shape))
        for index, (kind, takes, gives) in enumerate(module.layers):
            inputs = [module.member("ITensor", name=f"tensor_{index}", dtype=types[takes])]
            output = module.member("ITensor", name=f"tensor_{index + 1}", dtype=types[gives])
            network._layers.append(module.member("ILayer", kind=kinds[kind], inputs=inputs, output=output))
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]


class _ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def node(self) -> int:
        node: int = self._module.parse_node
        return node

    def desc(self) -> str:
        return self._text

    def node_name(self) -> str:
        return "/head/NonZero"

    def node_operator(self) -> str:
        return "NonZero"


class _Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.num_DLA_cores = self._module.dla_cores
        self._module.runtimes.append(self)

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        try:
            said = json.loads(plan)
        except ValueError:
            self._logger.log(self._module.Logger.ERROR, "the plan is\n truncated")
            return None
        return self._module.ICudaEngine(said["level"])


class _Engine:
    def __init__(self, level: str) -> None:
        for name in {"device_memory_size", "device_memory_size_v2"} & set(self._listed):
            setattr(self, name, 4096)
        if "hardware_compatibility_level" in self._listed:
            self.hardware_compatibility_level = self._module.HardwareCompatibilityLevel[level]

    def create_engine_inspector(self) -> Any:
        return self._module.EngineInspector()

    def create_execution_context(self, how: Any) -> Any:
        context = self._module.IExecutionContext()
        context._config = how if hasattr(how, "_strategy") else None
        context._strategy = how._strategy if hasattr(how, "_strategy") else how.name
        return context

    def create_runtime_config(self) -> Any:
        return self._module.IRuntimeConfig()

    def create_execution_context_without_device_memory(self) -> Any:
        return self._module.IExecutionContext()


class _Context:
    def set_device_memory(self, address: int, size: int) -> None:
        self._memory = (address, size)

    def is_stream_capturable(self, stream: int) -> bool:
        assert isinstance(stream, int)
        return self._module.capturable


class _RuntimeConfig:
    def __init__(self) -> None:
        self._strategy = "STATIC"
        self._cache: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy.name

    def create_runtime_cache(self) -> Any:
        return self._module.IRuntimeCache()

    def set_runtime_cache(self, cache: Any) -> bool:
        self._cache = cache
        return True


class _RuntimeCache:
    """Its content is text that begins with `kernels`, and names the version that compiled them."""

    def __init__(self) -> None:
        self._kernels: list[bytes] = []

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"kernels " + self._module.__version__.encode()):
            return False
        self._kernels += blob.split()[2:]
        return True

    def serialize(self) -> bytes:
        return b" ".join([b"kernels", self._module.__version__.encode(), *self._kernels])


class _Inspector:
    def get_engine_information(self, written: Any) -> str:
        assert written.name == "JSON"
        information: str = self._module.information
        return information


class _Refitter:
    def __init__(self, engine: Any, logger: Any) -> None:
        self._refitted: list[str] = []

    def refit_cuda_engine(self) -> bool:
        return bool(self._refitted)


class _OnnxRefitter:
    def __init__(self, refitter: Any, logger: Any) -> None:
        self._refitter = refitter

    def refit_from_file(self, path: str) -> bool:
        self._refitter._refitted.append(path)
        return True


_TO_DERIVE_FROM = ("ILogger", "IProgressMonitor")
_BEHAVIORS: dict[str, type] = {
    "Builder": _Builder,
    "EngineInspector": _Inspector,
    "IBuilderConfig": _Config,
    "ICudaEngine": _Engine,
    "IExecutionContext": _Context,
    "IRuntimeCache": _RuntimeCache,
    "IRuntimeConfig": _RuntimeConfig,
    "ILayer": _Layer,
    "INetworkDefinition": _Network,
    "IOptimizationProfile": _Profile,
    "ITensor": _Tensor,
    "ITimingCache": _TimingCache,
    "OnnxParser": _Parser,
    "OnnxParserRefitter": _OnnxRefitter,
    "ParserError": _ParserError,
    "Refitter": _Refitter,
    "Runtime": _Runtime,
}
