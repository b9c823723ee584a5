"""Compiles the kernel that decides: to PTX, which is shipped, and for this processor, which tests run.

python tests/support/decision_kernel.py     # `make kernel`, needs nvcc
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[2] / "edgemate" / "runtime" / "backends" / "tensorrt"
SOURCE, PTX = FOLDER / "decision.cu", FOLDER / "decision.ptx"
RULE = np.dtype([("score", "i4"), ("threshold", "f4"), ("temperature", "f4"), ("unused", "i4")])

# The oldest PTX that has all its instructions: drivers of CUDA 12.4 read no PTX of CUDA 13.
VERSION = "7.0"


def find_nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def release(nvcc: str) -> str:
    """Of the compiler: `13.0`."""
    found = re.search(r"release (\S+),", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout)
    assert found
    return found.group(1)


def compile_ptx(nvcc: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "decision.ptx"
        # Products and sums are rounded one by one, as on the host.
        command = [nvcc, "-arch=compute_75", "-fmad=false", "-ptx", str(SOURCE), "-o", str(output)]
        subprocess.run(command, check=True)
        text = output.read_text()
    code = re.sub(r"^\.version .*$", f".version {VERSION}", text[text.index(".version") :], count=1, flags=re.M)
    source = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    return f"// decision.cu, compiled by nvcc {release(nvcc)}. Its SHA-256: {source}\n\n{code}"


class HostKernel:
    """The kernel's source, compiled for this processor."""

    def __init__(self, folder: Path, compiler: str) -> None:
        # What the driver supplies on a GPU; this one remembers.
        (folder / "set.cpp").write_text(
            "static unsigned int last = 77; static unsigned long long of = 0;\n"
            'extern "C" void cudaGraphSetConditional(unsigned long long h, unsigned int v) { of = h; last = v; }\n'
            'extern "C" unsigned int taken(unsigned long long *h) '
            "{ unsigned int v = last; *h = of; last = 77; of = 0; return v; }\n"
        )
        library = folder / "decision.so"
        flags = ["-O1", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC", "-x", "c++"]
        subprocess.run([compiler, *flags, str(SOURCE), str(folder / "set.cpp"), "-o", str(library)], check=True)
        self._library = ctypes.CDLL(str(library))
        self._decide: Callable[..., Any] = self._library.decide
        self._decide.argtypes = [ctypes.c_ulonglong, *[ctypes.c_void_p] * 3, *[ctypes.c_int] * 3]  # type: ignore[attr-defined]
        self._decide.restype = None  # type: ignore[attr-defined]

    def run(self, handle: int, logits: np.ndarray, rules: np.ndarray, answer: np.ndarray, exit: int, exits: int) -> int:
        """The value that the condition was set to; 77 if it was not. `answer` is 4 int32 and the logits, in bytes."""
        assert logits.dtype == np.float32
        assert rules.dtype == RULE
        pointers = (logits.ctypes.data, rules.ctypes.data, answer.ctypes.data)
        self._decide(handle, *pointers, exit, exits, len(logits))
        found = ctypes.c_ulonglong()
        value = int(self._library.taken(ctypes.byref(found)))
        assert value == 77 or found.value == handle
        return value


if __name__ == "__main__":
    PTX.write_text(compile_ptx(find_nvcc() or sys.exit("nvcc is not installed")))
