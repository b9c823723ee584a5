"""INT8 as Q/DQ pairs in the graph, the only form that every TensorRT takes, by ONNX Runtime's static quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from edgemate.exporting.verify import BATCH

# What a GPU multiplies in INT8. The rest, sums over branches and activations, stays float: TensorRT merges it into
# these, and the logits that a policy reads are not rounded to 256 steps.
_QUANTIZED = ["Conv", "ConvTranspose", "Gemm", "MatMul"]

_OPTIONS = {
    "ActivationSymmetric": True,  # TensorRT takes no zero point but 0
    "CalibTensorRangeSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT refuses a bias that is dequantized from int32
    "MatMulConstBOnly": True,
    "OpTypesToExcludeOutputQuantization": _QUANTIZED,
}


def to_int8(proto: ModelProto, feeds: Mapping[str, npt.NDArray[np.float32]]) -> ModelProto:
    """The graph with a Q/DQ pair before every convolution and matrix product, weights stored as int8 per channel.

    The range of a value is the largest it takes on the images, in either direction.

    Args:
        proto: a float32 graph.
        feeds: its inputs for the images of the INT8 calibration, input → float32 (n, …).
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    ready = ModelProto()
    ready.CopyFrom(proto)
    # Without this mark the quantizer advises, through Python's root logger, to fold what torch has folded already.
    onnx.helper.set_model_props(ready, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(ready, source)
        quantize_static(
            source,
            target,
            _Batches(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=_OPTIONS,
        )
        quantized = onnx.load(target)
    del quantized.metadata_props[:]
    del quantized.graph.value_info[:]
    _drop_unused_opsets(quantized)
    return quantized


class _Batches:
    """What the quantizer calls a calibration data reader."""

    def __init__(self, feeds: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self._remaining = self._batches(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._remaining, None)

    @staticmethod
    def _batches(feeds: Mapping[str, npt.NDArray[np.float32]]) -> Iterator[dict[str, Any]]:
        images = len(next(iter(feeds.values())))
        for start in range(0, images, BATCH):
            yield {name: values[start : start + BATCH] for name, values in feeds.items()}


def _drop_unused_opsets(proto: ModelProto) -> None:
    used = {node.domain for node in proto.graph.node} | {""}
    kept = [opset for opset in proto.opset_import if opset.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
