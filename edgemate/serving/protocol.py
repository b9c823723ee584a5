"""The body of an inference request: JSON, and after it the bytes of binary tensors.

The Open Inference Protocol (KServe v2) with its extension for binary tensor data. All that a body claims is compared
with the limits and with the bundle's input before an array is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgemate.bundle import InputContract
from edgemate.json_files import parse_json
from edgemate.limits import IMAGE_PIXELS, IMAGE_SIDE, INTEGER, REQUEST_JSON_BYTES, REQUEST_TENSORS
from edgemate.serving.refusal import bad
from edgemate.serving.tensors import Array, from_bytes, from_list
from edgemate.wording import shortened

READY, PIXELS = "image", "pixels"
"""The two inputs, of which a request has one: what the network takes, and images, UINT8 (N, height, width, channels).

The first is FP32 (N, C, H, W), or UINT8 (N, H, W, C) where the graphs take pixels.
"""
READY_TYPES = {"float32": "FP32", "uint8": "UINT8"}
"""The datatype of the first by that of the bundle's input."""
OUTPUTS = {
    "label": "BYTES",
    "index": "INT64",
    "probability": "FP32",
    "exit": "INT32",
    "ms": "FP32",
    "degraded": "BOOL",
    "logits": "FP32",
    "probabilities": "FP32",
}
"""The outputs with their datatypes. The last two have a number per class, the others one per image."""
_PARAMETERS = ("policy", "deadline_ms", "binary_data_output")


@dataclass(frozen=True)
class InferRequest:
    """What a request asks.

    Attributes:
        id: the client's own, which the answer repeats.
        images: what the network takes, finite, or UINT8 `(N, height, width, channels)`, which is still to be prepared.
        ready: which of both.
        policy: the operating point that it chooses, if it does.
        deadline_ms: likewise.
        outputs: the names of the outputs, each with whether its tensor is to be binary.
    """

    id: str | None
    images: Array
    ready: bool
    policy: str | None
    deadline_ms: float | None
    outputs: dict[str, bool]


def parse_infer(body: memoryview, json_bytes: int | None, contract: InputContract, max_batch: int) -> InferRequest:
    """Read a body.

    Args:
        body: all of it.
        json_bytes: how many bytes of it are JSON, as the header says; None for all.
        contract: the bundle's input.
        max_batch: images that a request may have.

    Raises:
        RefusedError: it cannot be used; status 400.
    """
    length = len(body) if json_bytes is None else json_bytes
    if not 0 <= length <= len(body):
        raise bad(f"Inference-Header-Content-Length is {length:,}; the body has {len(body):,} bytes")
    if length > REQUEST_JSON_BYTES.most:
        raise bad(f"the JSON {REQUEST_JSON_BYTES.exceeded(length)}; send larger tensors in binary")
    try:
        request = parse_json(bytes(body[:length]))
    except ValueError as error:  # which includes text that is not UTF-8
        raise bad(f"the body is not JSON that can be read: {shortened(str(error))}") from None
    fields = _mapping(request, "the request")
    parameters = _mapping(fields.get("parameters", {}), "parameters")
    for name in parameters:
        if name not in _PARAMETERS:
            raise bad(f"unknown parameter {_shown(name)}; known: {', '.join(_PARAMETERS)}")
    images, ready = _images(fields, body[length:], contract, max_batch)
    return InferRequest(
        id=_optional(fields, "id", str, "a string"),
        images=images,
        ready=ready,
        policy=_optional(parameters, "policy", str, "a string"),
        deadline_ms=_deadline(parameters),
        outputs=_outputs(fields, _flag(parameters, "binary_data_output")),
    )


def _images(fields: dict[str, Any], binary: memoryview, contract: InputContract, max_batch: int) -> tuple[Array, bool]:
    inputs = _tensors(fields, "inputs")
    if len(inputs) != 1:
        raise bad(f"a request has one input, {READY} or {PIXELS}, not {len(inputs)}")
    [tensor] = inputs
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), _shape(tensor)
    if name == READY:
        expected, wanted = READY_TYPES[contract.dtype], f"[N, {', '.join(map(str, contract.shape(1)[1:]))}]"
        fits = len(shape) == 4 and tuple(shape[1:]) == contract.shape(1)[1:]
    elif name == PIXELS:
        expected, wanted = "UINT8", "[N, height, width, 1, 3 or 4]"
        fits = len(shape) == 4 and shape[3] in (1, 3, 4) and max(shape[1:3]) <= IMAGE_SIDE.most
        fits = fits and shape[1] * shape[2] <= IMAGE_PIXELS.most
    else:
        raise bad(f"unknown input {_shown(name)}; known: {READY}, {PIXELS}")
    if datatype != expected:
        raise bad(f"input {name} has datatype {_shown(datatype)}; it must be {expected}")
    if not fits:
        raise bad(f"input {name} has shape {_shown(shape)}; it must be {wanted}, an image of a size that is allowed")
    if shape[0] > max_batch:
        raise bad(f"input {name} has {shape[0]:,} images; a request may have {max_batch:,}")
    array = _array(tensor, binary, expected, shape)
    if expected == "FP32" and not np.isfinite(array).all():
        raise bad(f"input {name} has a number that is not finite")
    return array, name == READY


def _array(tensor: dict[str, Any], binary: memoryview, datatype: str, shape: list[int]) -> Array:
    size = _mapping(tensor.get("parameters", {}), "parameters of the input").get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise bad("the input has neither data nor the parameter binary_data_size")
        if len(binary):
            raise bad(f"{len(binary):,} bytes come after the JSON, and no input says that they are its own")
        return from_list(tensor["data"], datatype, shape)
    if "data" in tensor:
        raise bad("the input has both data and binary_data_size; give one")
    if type(size) is not int or size != len(binary):
        raise bad(f"binary_data_size is {_shown(size)}; {len(binary):,} bytes come after the JSON")
    return from_bytes(binary, datatype, shape)


def _shape(tensor: dict[str, Any]) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 8 or any(type(size) is not int for size in shape):
        raise bad(f"shape is {_shown(shape)}; it must be a list of integers, the number of images first")
    if min(shape) < 1 or math.prod(shape) > INTEGER.most:
        raise bad(f"shape is {_shown(shape)}; every size must be 1 or more, and the tensor one that is allowed")
    return shape


def _outputs(fields: dict[str, Any], all_binary: bool) -> dict[str, bool]:
    if "outputs" not in fields:
        return dict.fromkeys(OUTPUTS, all_binary)
    found = {}
    for tensor in _tensors(fields, "outputs"):
        name = tensor.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise bad(f"unknown output {_shown(name)}; known: {', '.join(OUTPUTS)}")
        if name in found:
            raise bad(f"output {name} is asked for twice")
        parameters = _mapping(tensor.get("parameters", {}), "parameters of an output")
        for parameter in parameters:
            if parameter != "binary_data":
                raise bad(f"unknown parameter {_shown(parameter)} of output {name}; known: binary_data")
        found[name] = _flag(parameters, "binary_data", all_binary)
    return found


def _tensors(fields: dict[str, Any], key: str) -> Sequence[dict[str, Any]]:
    given = fields.get(key)
    if not isinstance(given, list) or not given:
        raise bad(f"{key} must be a list with at least one tensor")
    if len(given) > REQUEST_TENSORS.most:
        raise bad(f"{key} {REQUEST_TENSORS.exceeded(len(given))}")
    return [_mapping(tensor, f"each of {key}") for tensor in given]


def _deadline(parameters: dict[str, Any]) -> float | None:
    value = parameters.get("deadline_ms")
    if value is None:
        return None
    if type(value) not in (int, float) or not value > 0:
        raise bad(f"deadline_ms is {_shown(value)}; it must be a number above 0")
    return float(value)


def _flag(parameters: dict[str, Any], name: str, default: bool = False) -> bool:
    found = _optional(parameters, name, bool, "true or false")
    return default if found is None else found


def _optional(fields: dict[str, Any], name: str, kind: Callable[..., Any], described: str) -> Any:
    value = fields.get(name)
    if value is not None and type(value) is not kind:
        raise bad(f"{name} is {_shown(value)}; it must be {described}")
    return value


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad(f"{what} must be an object, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A value of the request in a message; only the kind of one that may be large."""
    if isinstance(value, dict) or (isinstance(value, list) and len(value) > 8):
        return "an object" if isinstance(value, dict) else f"a list of {len(value):,}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]" if not any(isinstance(v, list) for v in value) else "a list"
    return shortened(repr(value)) if value is not None else "missing"
