"""The operators that graphs may have: those that export writes.

Collected from the exports of all shipped recipes and of the networks of `tests/exporting/test_families.py`, in every
precision, with the other operators of these kinds that torch's exporter writes for layers: a user's network may have
any of them. All compute tensors of numbers from tensors of numbers, the same each time. Export checks what it has
written, so that a network with an operator that is missing here fails there, and not on the device.
"""

from __future__ import annotations

DOMAINS = frozenset({"", "ai.onnx"})

_ELEMENTWISE = """
    Abs Add And Cast Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf
    IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu
    Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tanh Where Xor
"""
_REDUCTIONS = """
    ArgMax ArgMin CumSum LogSoftmax ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Softmax TopK
"""
_LAYERS = """
    AveragePool BatchNormalization Conv ConvTranspose DequantizeLinear Einsum Gemm GlobalAveragePool GlobalMaxPool
    GroupNormalization InstanceNormalization LayerNormalization MatMul MaxPool QuantizeLinear
"""
_LAYOUT = """
    Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND GridSample Identity
    OneHot Pad Range Reshape Resize ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose
    Trilu Unsqueeze
"""

OPERATORS = frozenset(f"{_ELEMENTWISE} {_REDUCTIONS} {_LAYERS} {_LAYOUT}".split())
