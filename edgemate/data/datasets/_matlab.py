"""MATLAB's .mat files, in which some datasets store their lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgemate.errors import DataError


def read_mat(path: Path, *keys: str) -> list[Any]:
    """Variables of a .mat file, as NumPy arrays of at least one dimension, without dimensions of size 1.

    Raises:
        DataError: the file is missing or damaged, or lacks a variable.
    """
    from scipy.io import loadmat

    try:
        found = loadmat(path, squeeze_me=True, variable_names=list(keys))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # a damaged file can make the reader raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as a .mat file ({reason}); unpack the dataset again") from error
    for key in keys:
        if key not in found:
            raise DataError(f"{path}: has no variable {key}; unpack the dataset again")
    return [np.atleast_1d(found[key]) for key in keys]
