"""The declared functions against NVIDIA's own libraries and headers, where this machine has them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt import cuda, cuda_libraries
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.cuda_libraries import (
    CONDITIONAL,
    DRIVER,
    NO_DRIVER,
    RENAMED,
    RUNTIME,
    ConditionalNode,
    Cudart,
    argument_types,
    candidates,
    declare,
    device_problem,
    find_cudart,
    open_cudart,
    version_text,
)
from edgemate.runtime.gpus import find_gpus

HEADERS = Path("/usr/local/cuda/include")


@pytest.fixture(scope="module")
def real() -> Cudart:
    """The first real libcudart of this machine."""
    for path in candidates():
        try:
            return open_cudart(path)
        except (OSError, BackendError):
            continue
    pytest.skip("this machine has no libcudart")


@pytest.fixture
def without_gpu(real: Cudart) -> Cudart:
    if find_gpus():
        pytest.skip("this machine has a GPU")
    return real


def test_a_real_runtime_has_every_function(real: Cudart) -> None:
    assert vars(real.functions).keys() >= RUNTIME.keys()
    assert real.version >= 11040
    if real.version >= 12040:
        assert vars(real.functions).keys() >= CONDITIONAL.keys()


ALONE = {"cudaGetLastError", "cudaGetDeviceCount", "cudaRuntimeGetVersion", "cudaDriverGetVersion"}


@pytest.mark.parametrize("name", [*RUNTIME, *CONDITIONAL])
def test_without_a_driver_every_call_fails_and_returns(without_gpu: Cudart, name: str) -> None:
    function = getattr(without_gpu.functions, name, None)
    if function is None:
        pytest.skip(f"CUDA {without_gpu.version_text} lacks it")
    signature = (RUNTIME | CONDITIONAL)[name]
    answer = function(*[_nothing(kind) for kind in signature if not isinstance(kind, cuda_libraries.Out)])
    status = answer[0] if isinstance(answer, tuple) else answer
    if name in ALONE - {"cudaGetDeviceCount"}:
        return
    assert status in NO_DRIVER, (name, status)


def _nothing(kind: Any) -> Any:
    return None if kind is ctypes.c_void_p or issubclass(kind, ctypes._Pointer) else 0


def test_the_real_functions_take_what_a_graph_is_put_together_with(without_gpu: Cudart) -> None:
    if not hasattr(without_gpu.functions, "cudaGraphAddNode"):
        pytest.skip(f"CUDA {without_gpu.version_text} has no conditional nodes")
    nodes, place, count = (ctypes.c_void_p * 2)(), ctypes.c_void_p(), ctypes.c_size_t()
    node, functions = ConditionalNode(type=13, handle=2**63, condition=0, size=1), without_gpu.functions
    answers = [
        functions.cudaGraphCreate(0)[0],
        functions.cudaGraphConditionalHandleCreate(0, 0, 0)[0],
        functions.cudaStreamBeginCaptureToGraph(0, 0, nodes, None, 2, 1),
        functions.cudaStreamGetCaptureInfo(0, None, None, ctypes.byref(place), None, ctypes.byref(count))[0],
        functions.cudaGraphAddNode(0, nodes, None, 2, ctypes.byref(node))[0],
    ]
    assert set(answers) <= set(NO_DRIVER)


@pytest.mark.parametrize(
    "call",
    [
        lambda found: found.allocate(16),
        lambda found: found.allocate_pinned(16),
        lambda found: found.allocate_mapped(16),
        lambda found: found.create_stream(),
        lambda found: found.create_event(),
        lambda found: found.is_integrated(),
        lambda found: found.launch(0, 0),
        lambda found: found.synchronize(0),
        lambda found: found.upload(1, 2, 3, 0),
    ],
)
def test_without_a_driver_it_is_one_line_with_cudas_name(without_gpu: Cudart, call: Callable[[Cuda], object]) -> None:
    with pytest.raises(BackendError) as caught:
        call(Cuda(without_gpu.functions, without_gpu.version))
    assert "\n" not in str(caught.value)
    assert any(name in str(caught.value) for name in ("cudaErrorInsufficientDriver (", "cudaErrorNoDevice ("))


def test_without_a_driver_no_runtime_is_found_and_it_says_why(without_gpu: Cudart) -> None:
    with pytest.raises(BackendError, match=r"libcudart.*: cudaGetDeviceCount says cudaError.*; .*; a runtime of the"):
        find_cudart()


# What the runtime answers about a device decides; a newer one than the driver's is passed over.


def fake_runtime(version: int, driver: int, status: int = 0, count: int = 1) -> Cudart:
    functions = SimpleNamespace(
        cudaGetDeviceCount=lambda: (status, count),
        cudaDriverGetVersion=lambda: (0, driver),
        cudaGetErrorName=lambda number: {35: b"cudaErrorInsufficientDriver"}[number],
        cudaGetErrorString=lambda number: b"it is old",
    )
    return Cudart(f"libcudart.so.{version // 1000}", version, functions)


def test_a_runtime_newer_than_the_driver_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"a": fake_runtime(13000, 12060, 35, 0), "b": fake_runtime(12060, 12060)}
    monkeypatch.setattr(cuda_libraries, "open_cudart", lambda path: found[path])
    assert find_cudart(["a", "b"]) is found["b"]
    with pytest.raises(BackendError, match=r"^libcudart.so.13, CUDA 13.0: .* CUDA up to 12.6; .*nvidia-jetpack"):
        find_cudart(["a"])


def test_a_runtime_that_finds_nothing_says_so() -> None:
    assert "finds no device; the driver serves CUDA up to 12.6" in str(device_problem(fake_runtime(12060, 12060, 0, 0)))
    assert device_problem(fake_runtime(12060, 12060)) is None


def test_no_runtime_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"^libcudart, the CUDA runtime library, is not found; .*nvidia-jetpack"):
        find_cudart([str(tmp_path / "libcudart.so")])


def test_packages_of_python_are_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nvidia" / "cuda_runtime" / "lib"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path)])
    assert [path for path in candidates() if path.startswith(str(tmp_path))] == [
        str(folder / name) for name in ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
    ]
    assert "/usr/local/cuda/lib64/libcudart.so.12" in list(candidates())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int cudaRuntimeGetVersion(int *v) { *v = 11020; return 0; }", "is of CUDA 11.2; 11.4 or newer is needed"),
        ("int cudaRuntimeGetVersion(int *v) { *v = 12060; return 0; }", "is no CUDA runtime that can be used"),
        ("int nothing(void) { return 0; }", "is no CUDA runtime that can be used"),
    ],
)
def test_a_library_that_will_not_do_is_named(tmp_path: Path, source: str, message: str) -> None:
    gcc = shutil.which("gcc") or pytest.skip("gcc is not installed")
    (tmp_path / "old.c").write_text(source)
    library = tmp_path / "libcudart.so"
    subprocess.run([gcc, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "old.c")], check=True)
    with pytest.raises(BackendError, match=message) as caught:
        find_cudart([str(library)])
    assert str(caught.value).startswith(str(library))


def test_cuda_12_has_two_functions_under_other_names(tmp_path: Path) -> None:
    """Its own of that name take fewer arguments; calling them with more would go wrong in silence."""
    gcc = shutil.which("gcc") or pytest.skip("gcc is not installed")
    names = [name for name in [*RUNTIME, *CONDITIONAL] if name != "cudaRuntimeGetVersion"]
    source = "".join(
        f"int {name}(void) {{ return 1; }}\n" for name in [*names, "cudaGetErrorName", "cudaGetErrorString"]
    )
    for version in (12060, 13000):
        for present in (True, False):
            renamed = "".join(f"int {name}(void) {{ return 2; }}\n" for name in RENAMED.values()) if present else ""
            stem = f"cuda{version}{present}"
            (tmp_path / f"{stem}.c").write_text(
                f"int cudaRuntimeGetVersion(int *v) {{ *v = {version}; return 0; }}\n" + source + renamed
            )
            library = tmp_path / f"{stem}.so"
            subprocess.run([gcc, "-w", "-shared", "-fPIC", "-o", str(library), str(tmp_path / f"{stem}.c")], check=True)
            found = open_cudart(str(library)).functions
            has = [name for name in CONDITIONAL if hasattr(found, name)]
            assert has == ([] if version < 13000 and not present else list(CONDITIONAL))
            if has:
                status, _ = found.cudaGraphAddNode(0, None, None, 0, None)
                assert status == (2 if version < 13000 else 1)


# The headers


SHOW = """
#include <cstdio>
#include <cstddef>
#include <type_traits>
#include "cuda.h"
#include "cuda_runtime_api.h"
template <class A> void one() { std::printf(" %zu%c", sizeof(A), std::is_pointer<A>::value ? 'p' : 'n'); }
template <class R, class... A> void show(const char *name, R (*)(A...)) {
    std::printf("%s %zu", name, sizeof(R));
    int each[] = {0, (one<A>(), 0)...};
    (void)each;
    std::printf("\\n");
}
int main() {
FUNCTIONS
    std::printf("node %zu %zu %zu %zu %zu\\n", sizeof(cudaGraphNodeParams), offsetof(cudaGraphNodeParams, conditional),
        offsetof(cudaGraphNodeParams, conditional.type), offsetof(cudaGraphNodeParams, conditional.size),
        offsetof(cudaGraphNodeParams, conditional.phGraph_out));
    std::printf("constants %d %d %d %d %d %d %d %d %d %d %d\\n", cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost,
        cudaMemcpyDeviceToDevice, cudaStreamNonBlocking, cudaEventDisableTiming, cudaStreamCaptureModeThreadLocal,
        cudaHostAllocMapped, cudaDevAttrIntegrated, cudaGraphNodeTypeConditional, cudaGraphCondTypeIf, CUDART_VERSION);
}
"""


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What NVIDIA's headers declare: function → size of its result and of its arguments, `p` for pointers."""
    compiler = shutil.which("g++") or pytest.skip("g++ is not installed")
    if not (HEADERS / "cuda_runtime_api.h").is_file():
        pytest.skip(f"{HEADERS} has no CUDA headers")
    if "#define CUDART_VERSION  13" not in (HEADERS / "cuda_runtime_api.h").read_text(errors="replace"):
        pytest.skip("the names are those of CUDA 13's headers")
    folder = tmp_path_factory.mktemp("headers")
    names = [*RUNTIME, *CONDITIONAL, *DRIVER, "cudaGetErrorName", "cudaGetErrorString"]
    shown = "".join(f'    show("{name}", {name});\n' for name in names)
    (folder / "show.cpp").write_text(SHOW.replace("FUNCTIONS", shown))
    # Nothing is linked: the names are looked up at their address, so all of them are left undefined.
    command = [compiler, f"-I{HEADERS}", "-w", "-Wl,--unresolved-symbols=ignore-all", "-o", str(folder / "show")]
    subprocess.run([*command, str(folder / "show.cpp")], check=True)
    output = subprocess.run([str(folder / "show")], check=True, capture_output=True, text=True).stdout
    return {line.split()[0]: line.split()[1:] for line in output.splitlines()}


@pytest.mark.parametrize("name", [*RUNTIME, *CONDITIONAL, *DRIVER])
def test_the_declaration_is_that_of_the_header(declared: dict[str, list[str]], name: str) -> None:
    types = argument_types((RUNTIME | CONDITIONAL | DRIVER)[name])
    ours = [f"{ctypes.sizeof(kind)}{'p' if _is_pointer(kind) else 'n'}" for kind in types]
    assert ["4", *ours] == declared[name]


def _is_pointer(kind: Any) -> bool:
    return kind in (ctypes.c_void_p, ctypes.c_char_p) or issubclass(kind, ctypes._Pointer)


def test_a_wrong_declaration_would_be_found(declared: dict[str, list[str]]) -> None:
    assert declared["cudaMemcpyAsync"] == ["4", "8p", "8p", "8n", "4n", "8p"]
    assert declared["cudaGetErrorName"] == ["8", "4n"]


def test_the_struct_and_the_constants_are_those_of_the_header(declared: dict[str, list[str]]) -> None:
    node = ConditionalNode
    offsets = (node.handle.offset, node.condition.offset, node.size.offset, node.bodies.offset)
    assert [int(number) for number in declared["node"]] == [ctypes.sizeof(node), *offsets]
    names = ("TO_DEVICE", "TO_HOST", "WITHIN_DEVICE", "NON_BLOCKING", "DISABLE_TIMING", "THREAD_LOCAL", "MAPPED")
    ours = [getattr(cuda, name) for name in (*names, "INTEGRATED")]
    assert [int(number) for number in declared["constants"]][:8] == ours


def test_versions_read_as_nvidia_writes_them() -> None:
    assert [version_text(number) for number in (11040, 12060, 13020)] == ["11.4", "12.6", "13.2"]


def test_a_function_that_is_missing_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        declare(ctypes.CDLL(None), {"cudaNothing": ()})
