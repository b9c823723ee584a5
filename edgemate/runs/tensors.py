"""Named tensors in `.safetensors` files: written atomically, read without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgemate import files
from edgemate.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors from any device, in any memory format; reading gives contiguous tensors on the CPU."""
    from safetensors.torch import save

    files.write_bytes(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors. Raises RunError, with the file's path, if it is not a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read as safetensors: {' '.join(str(error).split())}") from error
    return tensors
