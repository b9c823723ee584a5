"""Triton's module for models in Python, over ONNX Runtime: what `model.py` of a model repository uses of it.

It holds the models to their `config.pbtxt`, as Triton does: names, types and shapes of every tensor, and the batch.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

_DTYPES = {
    "TYPE_FP32": np.float32,
    "TYPE_UINT8": np.uint8,
    "TYPE_INT8": np.int8,
    "TYPE_FP16": np.float16,
    "TYPE_INT32": np.int32,
    "TYPE_STRING": np.object_,
}


def parsed_config(path: Path) -> Any:
    """A `config.pbtxt` as Triton's own message, of which tritonclient has a copy; skips where that is not installed."""
    messages = _messages()
    if messages is None:
        pytest.skip("needs Triton's messages: pip install --no-deps tritonclient")
    from google.protobuf import text_format

    return text_format.Parse(path.read_text(), messages.ModelConfig())


def _messages() -> Any:
    # Its file alone: the package itself imports gRPC and more.
    found = importlib.util.find_spec("tritonclient")
    if found is None or found.origin is None or importlib.util.find_spec("google.protobuf") is None:
        return None
    name = "tritonclient_model_config_pb2"
    if name not in sys.modules:
        sys.modules[name] = _loaded(name, Path(found.origin).parent / "grpc" / "model_config_pb2.py")
    return sys.modules[name]


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class Response:
    def __init__(self, output_tensors: list[Tensor] | None = None, error: Any = None) -> None:
        self.tensors = {tensor.name(): tensor for tensor in output_tensors or ()}
        self._error = error

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> Any:
        return self._error

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[name].as_numpy()


class Error:
    def __init__(self, message: str) -> None:
        self._message = message

    def message(self) -> str:
        return self._message


class Request:
    """A request of a client: one input, and parameters."""

    def __init__(self, images: np.ndarray, **parameters: str) -> None:
        self.tensors = {"image": Tensor("image", images)}
        self._parameters = parameters

    def parameters(self) -> str:
        return json.dumps(self._parameters) if self._parameters else ""


class Server:
    """A model repository; `calls` are the models that ran, with the number of images."""

    def __init__(self, repository: Path) -> None:
        import onnxruntime

        self.calls: list[tuple[str, int]] = []
        self.broken: str | None = None
        known = _messages() is not None
        self._configs = {one.name: parsed_config(one / "config.pbtxt") for one in repository.iterdir() if known}
        self._sessions = {
            path.parent.parent.name: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            for path in repository.glob("*/1/model.onnx")
        }

    def run(self, model: str, wanted: list[str], inputs: list[Tensor]) -> Response:
        given = {tensor.name(): tensor.as_numpy() for tensor in inputs}
        self._check(model, "input", given)
        self.calls.append((model, len(next(iter(given.values())))))
        if model == self.broken:
            return Response(error=Error("out of memory"))
        found = dict(zip(wanted, self._sessions[model].run(wanted, given), strict=True))
        self._check(model, "output", found)
        return Response([Tensor(name, array) for name, array in found.items()])

    def check(self, model: str, response: Response) -> None:
        """What a model in Python gives is what its configuration says."""
        self._check(model, "output", {name: tensor.as_numpy() for name, tensor in response.tensors.items()}, whole=True)

    def _check(self, model: str, key: str, tensors: dict[str, np.ndarray], *, whole: bool = False) -> None:
        if model not in self._configs:  # Triton's messages are not here to read them
            return
        config = self._configs[model]
        fields = {field.name: field for field in getattr(config, key)}
        assert set(fields) == set(tensors) if whole or key == "input" else set(fields) >= set(tensors)
        for name, array in tensors.items():
            field = fields[name]
            kind = field.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[field.data_type].name
            assert array.dtype == _DTYPES[kind], name
            assert list(array.shape[1:]) == list(field.dims), name
            assert 1 <= len(array) <= config.max_batch_size
            assert array.flags.c_contiguous


@contextmanager
def loaded_model(repository: Path, name: str) -> Iterator[tuple[Any, Server]]:
    """The repository's model in Python, as Triton loads it, and the server behind it."""
    server = Server(repository)

    class InferenceRequest:
        def __init__(
            self, model_name: str, requested_output_names: list[str], inputs: list[Tensor], preferred_memory: Any
        ) -> None:
            self._asked = (model_name, requested_output_names, inputs)

        def exec(self) -> Response:
            return server.run(*self._asked)

    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.InferenceRequest, module.InferenceResponse = Tensor, InferenceRequest, Response
    module.TritonError, module.TritonModelException = Error, type("TritonModelException", (Exception,), {})
    module.TRITONSERVER_MEMORY_CPU = 0
    module.PreferredMemory = lambda kind, device: (kind, device)
    module.get_input_tensor_by_name = module.get_output_tensor_by_name = lambda one, name: one.tensors[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", module)
        folder = repository / name / "1"
        model = _loaded("triton_model", folder / "model.py").TritonPythonModel()
        model.initialize({"model_repository": str(folder.parent), "model_version": "1", "model_name": name})
        yield model, server


def _loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
