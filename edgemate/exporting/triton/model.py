"""The model of Triton's Python backend that runs the segments, each image up to the exit where it stops.

`edgemate export --target triton` copies this file as it is; `plan.json` beside it says what to run and when to stop. It
needs numpy and Triton's own module, and nothing of edgemate. It decides as `edgemate.policies` does.

A request may choose an operating point by its parameter `policy`. Requests that Triton batches go through the segments
together. An image that has stopped leaves the batch before the next segment runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the plan."""
        self.plan = json.loads((Path(__file__).parent / "plan.json").read_text(encoding="utf-8"))
        self.on_host = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request; those with the same operating point share a pass."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            name = self.chosen_point(request)
            if name in self.plan["points"]:
                groups.setdefault(name, []).append(number)
            else:
                known = ", ".join(self.plan["points"]) or "none"
                responses[number] = failed(f"unknown operating point {name[:200]!r}; known: {known}")
        for name, numbers in groups.items():
            images = [pb_utils.get_input_tensor_by_name(requests[number], "image").as_numpy() for number in numbers]
            try:
                logits, exits = self.run(np.concatenate(images), self.plan["points"][name])
            except pb_utils.TritonModelException as error:
                for number in numbers:
                    responses[number] = failed(str(error))
                continue
            ends = np.cumsum([len(one) for one in images])[:-1]
            for number, own_logits, own_exits in zip(
                numbers, np.split(logits, ends), np.split(exits, ends), strict=True
            ):
                responses[number] = self.response(own_logits, own_exits)
        return responses

    def chosen_point(self, request: Any) -> str:
        """The operating point that a request names, else the default one."""
        parameters = json.loads(request.parameters() or "{}")
        return str(parameters.get("policy", self.plan["default"]))

    def run(self, images: Any, point: dict[str, Any]) -> tuple[Any, Any]:
        """Logits `(N, C)` of the exit where each image stopped, and that exit `(N,)`, counted from 1."""
        segments = self.plan["segments"]
        logits = np.empty((len(images), len(self.plan["classes"])), dtype=np.float32)
        exits = np.zeros(len(images), dtype=np.int32)
        rows = np.arange(len(images))  # those that have not stopped
        tensors = {"image": images}
        agreement = Agreement(len(images))
        for exit, segment in enumerate(segments, start=1):
            tensors.update(self.run_segment(segment, tensors))
            found = tensors[f"logits_{exit}"]
            stop = np.ones(len(rows), dtype=bool) if exit == len(segments) else stops(point, exit, found, agreement)
            logits[rows[stop]], exits[rows[stop]] = found[stop], exit
            if stop.all():
                break
            rows = rows[~stop]
            agreement.keep(~stop)
            tensors = {name: tensor[~stop] for name, tensor in tensors.items() if name in segment["later"]}
        return logits, exits

    def run_segment(self, segment: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
        """The outputs of one segment's model, by name."""
        response = pb_utils.InferenceRequest(
            model_name=segment["model"],
            requested_output_names=segment["gives"],
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(tensors[name])) for name in segment["takes"]],
            preferred_memory=self.on_host,
        ).exec()
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        return {name: pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in segment["gives"]}

    def response(self, logits: Any, exits: Any) -> Any:
        """Logits, label, probability and exit of some images; an error where logits are no numbers."""
        finite = np.isfinite(logits).all(axis=1)
        if not finite.all():
            return failed(f"image {finite.argmin() + 1}: the network's logits are not finite")
        labels = np.array([self.plan["classes"][index] for index in logits.argmax(axis=1)], dtype=object)
        temperatures = self.plan["temperatures"]
        scaled = logits
        if temperatures is not None:
            scaled = logits / np.array(temperatures, dtype=np.float32)[exits - 1][:, None]
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("logits", logits),
                pb_utils.Tensor("label", labels[:, None]),
                pb_utils.Tensor("probability", confidence(scaled)[:, None].astype(np.float32)),
                pb_utils.Tensor("exit", exits[:, None]),
            ]
        )


class Agreement:
    """How often each remaining image has had the class of the exit before, in a row; for the policy `patience`."""

    def __init__(self, images: int) -> None:
        self.last = np.full(images, -1)
        self.times = np.zeros(images, dtype=int)

    def see(self, logits: Any, finite: Any) -> Any:
        """Count one more exit; one whose logits are not finite has no class."""
        predicted = logits.argmax(axis=1)
        self.times = np.where(finite & (predicted == self.last), self.times + 1, 0)
        self.last = np.where(finite, predicted, -1)
        return self.times

    def keep(self, kept: Any) -> None:
        """Forget the images that have stopped."""
        self.last, self.times = self.last[kept], self.times[kept]


def stops(point: dict[str, Any], exit: int, logits: Any, agreement: Agreement) -> Any:
    """Which images stop at an exit that is not the last, bool `(n,)`; none whose logits are not finite."""
    finite = np.isfinite(logits).all(axis=1)
    logits = np.where(finite[:, None], logits, 0)
    if point["policy"] == "fixed":
        stop = np.full(len(logits), exit >= point["exit"])
    elif point["policy"] == "patience":
        stop = agreement.see(logits, finite) >= point["patience"]
    else:
        if point["temperatures"] is not None:
            logits = logits / np.float32(point["temperatures"][exit - 1])
        score = SCORES[point["policy"]](logits)
        threshold = point["thresholds"][exit - 1]
        stop = score < threshold if point["policy"] == "entropy" else score > threshold
    return stop & finite


def exponentials(logits: Any) -> Any:
    """Of the logits less the largest of each row."""
    return np.exp(logits - logits.max(axis=1, keepdims=True))


def confidence(logits: Any) -> Any:
    """The largest probability."""
    return 1 / exponentials(logits).sum(axis=1)


def entropy(logits: Any) -> Any:
    """The entropy of the probabilities in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1)
    return np.maximum(np.log(total) - (np.exp(shifted) * shifted).sum(axis=1) / total, 0)


def margin(logits: Any) -> Any:
    """The largest probability less the second largest."""
    if logits.shape[1] == 1:
        return np.ones(len(logits), dtype=logits.dtype)
    probabilities = exponentials(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    top = np.partition(probabilities, -2, axis=1)
    return top[:, -1] - top[:, -2]


SCORES = {"confidence": confidence, "entropy": entropy, "margin": margin}


def failed(message: str) -> Any:
    """The response to a request that is not answered."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
