"""The largest absolute value of tensors inside a graph, on real images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper

from edgemate.exporting.verify import BATCH, open_session


def largest_values(
    proto: ModelProto, names: Iterable[str], feeds: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, float]:
    """Name of a value → its largest absolute number over the images.

    Args:
        proto: a float32 graph.
        names: float32 values of it, constants excluded.
        feeds: its inputs for some images, input → float32 (n, …).
    """
    probed = ModelProto()
    probed.CopyFrom(proto)
    del probed.graph.output[:]
    watched = list(dict.fromkeys(names))
    if not watched:
        return {}
    for name in watched:
        probed.graph.node.extend(
            [
                helper.make_node("Abs", [name], [f"{name}_absolute"]),
                helper.make_node("ReduceMax", [f"{name}_absolute"], [f"{name}_largest"], keepdims=0),
            ]
        )
        probed.graph.output.append(helper.make_tensor_value_info(f"{name}_largest", TensorProto.FLOAT, []))
    session = open_session(probed.SerializeToString())
    found: dict[str, float] = {}
    images = len(next(iter(feeds.values())))
    for start in range(0, images, BATCH):
        largest = session.run(None, {name: values[start : start + BATCH] for name, values in feeds.items()})
        for name, value in zip(watched, largest, strict=True):
            found[name] = max(found.get(name, 0.0), float(value))
    return found
