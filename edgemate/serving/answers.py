"""The body of an answer: predictions as the outputs that the request asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgemate.policies.scores import softmax
from edgemate.runtime import Prediction
from edgemate.serving.protocol import OUTPUTS
from edgemate.serving.tensors import DTYPES, Array, to_bytes


def answer_body(
    predictions: Sequence[Prediction],
    outputs: dict[str, bool],
    temperatures: Sequence[float] | None,
    fields: dict[str, Any],
) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON; None where all are.

    Args:
        predictions: one per image, each with a class.
        outputs: the names of outputs, each with whether its tensor is to be binary.
        temperatures: what logits of each exit are divided by before they become probabilities.
        fields: what else is in the JSON, such as the model's name.
    """
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, in_binary in outputs.items():
        values = _values(name, predictions, temperatures)
        shape = list(values.shape) if isinstance(values, np.ndarray) else [len(values)]
        tensor: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": shape}
        if in_binary:
            binary.append(to_bytes(values))
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            # Flat, as the protocol's own examples are.
            tensor["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else list(values)
        tensors.append(tensor)
    text = json.dumps({**fields, "outputs": tensors}).encode()
    return (text, None) if not binary else (b"".join((text, *binary)), len(text))


def _values(name: str, predictions: Sequence[Prediction], temperatures: Sequence[float] | None) -> Array | list[str]:
    if name == "label":
        return [prediction.label or "" for prediction in predictions]
    if name in ("logits", "probabilities"):
        logits = np.stack([prediction.logits for prediction in predictions])
        if name == "probabilities":
            if temperatures is not None:
                logits = logits / np.array([[temperatures[p.exit - 1]] for p in predictions], dtype=np.float32)
            logits = softmax(logits)
        return logits.astype(DTYPES["FP32"], copy=False)
    attribute = {"ms": "milliseconds"}.get(name, name)
    return np.array([getattr(prediction, attribute) for prediction in predictions], dtype=DTYPES[OUTPUTS[name]])
