"""What a test needs of the processor."""

from __future__ import annotations

import pytest

from edgemate.training.numerics import has_native_bf16

native_bf16 = pytest.mark.skipif(
    not has_native_bf16(), reason="bf16 is emulated on this processor, 5 to 30 times slower than fp32"
)
