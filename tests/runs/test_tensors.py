from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgemate.errors import RunError
from edgemate.runs import read_tensors, write_tensors


def test_tensors_of_any_memory_format_come_back_equal(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    tensors = {
        "weight": torch.nn.Parameter(weight.to(memory_format=torch.channels_last)),
        "steps": torch.tensor(7),
        "transposed": weight[0, 0].T,
    }
    write_tensors(tmp_path / "t.safetensors", tensors)
    read = read_tensors(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].is_contiguous()


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_file_without_tensors_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "t.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"t\.safetensors: cannot be read as safetensors"):
        read_tensors(path)
