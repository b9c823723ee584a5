"""The version of the ONNX file format, as low as the operators allow: an old ONNX Runtime refuses a higher one."""

from __future__ import annotations

from onnx import ModelProto, helper


def lower_ir_version(proto: ModelProto) -> None:
    """Set the lowest IR version that the graph's opsets allow, such as 8 for opset 18.

    torch's exporter writes the highest that it knows. What came after 8 and is not an opset's own are notes on nodes
    and functions with overloads, and neither is in these graphs.
    """
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
