"""The system's libcudart and libcuda by ctypes: which functions are called, and with what. Nothing is installed for it.

Every function here is declared with its arguments, which a test compares with NVIDIA's headers. A function without a
result gives its status, 0 if it succeeded; one with a result gives the status and the result. Addresses and handles are
plain integers.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgemate.errors import BackendError

OLDEST = 11040
"""The oldest CUDA runtime that has `cudaGraphInstantiateWithFlags`: 11.4, that of JetPack 5."""

SUCCESS = 0
NO_DRIVER = (35, 100)
"""cudaErrorInsufficientDriver, also said where there is no driver at all, and cudaErrorNoDevice."""

_FIX = (
    "a runtime of the driver's CUDA or older is needed: on a Jetson apt install nvidia-jetpack, elsewhere pip install "
    "nvidia-cuda-runtime-cu12 for CUDA 12"
)

_SIZE, _INT, _UINT, _U64, _HANDLE, _POINTER = (
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_ulonglong,
    ctypes.c_void_p,
    ctypes.c_void_p,
)


@dataclass(frozen=True)
class Out:
    """A result: the function writes it where this argument points."""

    kind: Any


class ConditionalNode(ctypes.Structure):
    """`cudaGraphNodeParams` of a conditional node. Unused bytes must be zero, as ctypes makes them."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("reserved0", ctypes.c_int * 3),
        ("handle", ctypes.c_ulonglong),
        ("condition", ctypes.c_int),
        ("size", ctypes.c_uint),
        ("bodies", ctypes.POINTER(ctypes.c_void_p)),
        ("unused", ctypes.c_longlong * 26),
        ("reserved2", ctypes.c_longlong),
    )


Signatures = Mapping[str, Sequence[Any]]

RUNTIME: Signatures = {
    "cudaGetLastError": (),
    "cudaGetDeviceCount": (Out(_INT),),
    "cudaDeviceGetAttribute": (Out(_INT), _INT, _INT),
    "cudaRuntimeGetVersion": (Out(_INT),),
    "cudaDriverGetVersion": (Out(_INT),),
    "cudaMalloc": (Out(_POINTER), _SIZE),
    "cudaFree": (_POINTER,),
    "cudaMallocHost": (Out(_POINTER), _SIZE),
    "cudaHostAlloc": (Out(_POINTER), _SIZE, _UINT),
    "cudaHostGetDevicePointer": (Out(_POINTER), _POINTER, _UINT),
    "cudaFreeHost": (_POINTER,),
    "cudaMemcpyAsync": (_POINTER, _POINTER, _SIZE, _INT, _HANDLE),
    "cudaStreamCreateWithFlags": (Out(_HANDLE), _UINT),
    "cudaStreamSynchronize": (_HANDLE,),
    "cudaStreamDestroy": (_HANDLE,),
    "cudaEventCreateWithFlags": (Out(_HANDLE), _UINT),
    "cudaEventRecord": (_HANDLE, _HANDLE),
    "cudaEventSynchronize": (_HANDLE,),
    "cudaEventDestroy": (_HANDLE,),
    "cudaStreamBeginCapture": (_HANDLE, _INT),
    "cudaStreamEndCapture": (_HANDLE, Out(_HANDLE)),
    "cudaGraphInstantiateWithFlags": (Out(_HANDLE), _HANDLE, _U64),
    "cudaGraphLaunch": (_HANDLE, _HANDLE),
    "cudaGraphExecDestroy": (_HANDLE,),
    "cudaGraphDestroy": (_HANDLE,),
}
"""What every runtime from 11.4 on has."""

CONDITIONAL: Signatures = {
    "cudaGraphCreate": (Out(_HANDLE), _UINT),
    "cudaGraphConditionalHandleCreate": (Out(_U64), _HANDLE, _UINT, _UINT),
    "cudaGraphAddNode": (Out(_HANDLE), _HANDLE, _POINTER, _POINTER, _SIZE, ctypes.POINTER(ConditionalNode)),
    "cudaStreamBeginCaptureToGraph": (_HANDLE, _HANDLE, _POINTER, _POINTER, _SIZE, _INT),
    "cudaStreamGetCaptureInfo": (
        _HANDLE,
        Out(_INT),
        _POINTER,
        _POINTER,
        ctypes.POINTER(_POINTER),
        _POINTER,
        ctypes.POINTER(_SIZE),
    ),
}
"""What graphs that decide need besides, which came with CUDA 12.3 and 12.4."""

RENAMED = {"cudaGraphAddNode": "cudaGraphAddNode_v2", "cudaStreamGetCaptureInfo": "cudaStreamGetCaptureInfo_v3"}
"""CUDA 13's names → those that CUDA 12 has for the same functions; its own of that name take fewer arguments."""

DRIVER: Signatures = {
    "cuModuleLoadData": (Out(_HANDLE), ctypes.c_char_p),
    "cuModuleGetFunction": (Out(_HANDLE), _HANDLE, ctypes.c_char_p),
    "cuModuleUnload": (_HANDLE,),
    "cuLaunchKernel": (_HANDLE, *[_UINT] * 7, _HANDLE, ctypes.POINTER(_POINTER), _POINTER),
    "cuGetErrorName": (_INT, Out(ctypes.c_char_p)),
    "cuGetErrorString": (_INT, Out(ctypes.c_char_p)),
}
"""What starts a kernel. libcudart cannot load one before CUDA 12.8."""


@dataclass(frozen=True)
class Cudart:
    """A CUDA runtime that was loaded.

    Attributes:
        path: as the system's loader was asked for it.
        version: 12060 for 12.6.
        functions: its functions by name; those of `CONDITIONAL` only where it has all of them.
    """

    path: str
    version: int
    functions: Any

    @property
    def version_text(self) -> str:
        """`12.6`."""
        return version_text(self.version)


def version_text(version: int) -> str:
    """12060 → `12.6`, as CUDA counts."""
    return f"{version // 1000}.{version % 1000 // 10}"


def find_cudart(paths: Sequence[str] | None = None) -> Cudart:
    """The first CUDA runtime that finds a GPU with this machine's driver.

    A runtime newer than the driver finds none: JetPack 6's driver serves CUDA 12, and a package of Python's may have
    brought CUDA 13.

    Args:
        paths: where to look; where a runtime usually is if None.

    Raises:
        BackendError: there is none, or none that works here: why the first of them does not.
    """
    problems = []
    for path in candidates() if paths is None else paths:
        try:
            found = open_cudart(path)
        except OSError:  # not there, or of another architecture
            continue
        except BackendError as error:
            problems.append(str(error))
            continue
        problem = device_problem(found)
        if problem is None:
            return found
        problems.append(problem)
    if problems:
        raise BackendError(problems[0])
    raise BackendError(f"libcudart, the CUDA runtime library, is not found; {_FIX}")


def device_problem(cudart: Cudart) -> str | None:
    """What keeps a runtime from using a GPU here; None if nothing does."""
    status, count = cudart.functions.cudaGetDeviceCount()
    if status == SUCCESS and count:
        return None
    said = f"says {error_name(cudart.functions, status)}" if status else "finds no device"
    _, driver = cudart.functions.cudaDriverGetVersion()
    serves = f"the driver serves CUDA up to {version_text(driver)}" if driver else "no driver is installed"
    return f"{cudart.path}, CUDA {cudart.version_text}: cudaGetDeviceCount {said}; {serves}; {_FIX}"


def error_name(functions: Any, status: int) -> str:
    """`cudaErrorInsufficientDriver (CUDA driver version is …)`, as the runtime explains a status."""
    name, meaning = functions.cudaGetErrorName(status), functions.cudaGetErrorString(status)
    return f"{name.decode(errors='replace')} ({meaning.decode(errors='replace')})"


def open_cudart(path: str) -> Cudart:
    """The runtime in file `path`.

    Raises:
        OSError: it cannot be loaded.
        BackendError: it is too old.
    """
    library = ctypes.CDLL(path)
    try:
        functions = declare(library, {"cudaRuntimeGetVersion": RUNTIME["cudaRuntimeGetVersion"]})
        _, version = functions.cudaRuntimeGetVersion()
        if version < OLDEST:
            raise BackendError(f"{path}: is of CUDA {version_text(version)}; {version_text(OLDEST)} or newer is needed")
        functions = declare(library, RUNTIME)
    except AttributeError as error:
        raise BackendError(f"{path}: is no CUDA runtime that can be used ({error})") from error
    for name in ("cudaGetErrorName", "cudaGetErrorString"):
        function = getattr(library, name)
        function.argtypes, function.restype = (ctypes.c_int,), ctypes.c_char_p
        setattr(functions, name, function)
    names = RENAMED if version < 13000 else {}
    if all(hasattr(library, names.get(name, name)) for name in CONDITIONAL):
        vars(functions).update(vars(declare(library, CONDITIONAL, names)))
    return Cudart(path, version, functions)


def open_driver() -> Any:
    """The functions of `DRIVER`. Raises OSError where there is no libcuda, AttributeError where it lacks one."""
    return declare(ctypes.CDLL("libcuda.so.1"), DRIVER)


def declare(library: ctypes.CDLL, signatures: Signatures, names: Mapping[str, str] | None = None) -> Any:
    """A namespace of a library's functions. Raises AttributeError where it lacks one."""
    return SimpleNamespace(
        **{name: _declared(library[(names or {}).get(name, name)], signature) for name, signature in signatures.items()}
    )


def argument_types(signature: Sequence[Any]) -> tuple[Any, ...]:
    """What ctypes passes: a result as a pointer to it."""
    return tuple(ctypes.POINTER(one.kind) if isinstance(one, Out) else one for one in signature)


def candidates() -> Iterator[str]:
    """Where a CUDA runtime may be: where the system looks, in Python's packages, and where JetPack puts it."""
    names = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
    yield from names
    for entry in sys.path:
        for folder in ("cuda_runtime", "cu13"):
            place = Path(entry, "nvidia", folder, "lib")
            if entry and place.is_dir():
                yield from (str(place / name) for name in names)
    yield from (f"/usr/local/cuda/lib64/{name}" for name in names)


def _declared(function: Any, signature: Sequence[Any]) -> Callable[..., Any]:
    function.argtypes, function.restype = argument_types(signature), ctypes.c_int
    results = [index for index, one in enumerate(signature) if isinstance(one, Out)]
    if not results:
        called: Callable[..., Any] = function
        return called
    [index] = results
    kind = signature[index].kind

    def call(*arguments: Any) -> tuple[int, Any]:
        result = kind()
        status = function(*arguments[:index], ctypes.byref(result), *arguments[index:])
        return status, result.value or 0

    return call
