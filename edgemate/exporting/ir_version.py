"""The IR version of an ONNX file, as low as the opsets allow, since an old ONNX Runtime refuses a higher one."""

from __future__ import annotations

from onnx import ModelProto, helper


def lower_ir_version(proto: ModelProto) -> None:
    """Set the lowest IR version that the graph's opsets allow, such as 8 for opset 18.

    torch's exporter writes the highest that it knows. Versions after 8 add metadata on nodes and overloaded functions,
    which these graphs do not use.
    """
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
