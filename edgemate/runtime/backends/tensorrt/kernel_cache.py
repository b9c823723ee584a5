"""How TensorRT-RTX runs an engine: it compiles kernels on the device, here at once and kept for the next start.

From NVIDIA's pages "Working with Runtime Cache", "Working with RTX CUDA Graphs" and "Working with Dynamic Shapes" of
TensorRT for RTX. Not run on a GPU yet.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.timing_cache import cache_folder
from edgemate.runtime.backends.tensorrt.vouched_file import VouchedFile


class KernelCache:
    """The kernels that TensorRT-RTX has compiled on one device, in memory and in a file.

    They save time at the next start. So wherever the file cannot be read or written, nothing is said and nothing fails.
    Kernels are code: only a file that this machine wrote is read.

    Args:
        tag: device and version; each has a file of its own.
        folder: of these files; the user's cache if None.
    """

    def __init__(self, tag: str, folder: Path | None = None) -> None:
        self.path = (folder or cache_folder() / "kernels") / f"{tag}.kernels"
        self._cache: Any = None  # the library's; shared by all contexts, and made by the first one's configuration
        self._kept = b""  # what the file holds

    def configure(self, module: Any, engine: Any, *, library_graphs: bool) -> Any:
        """The `IRuntimeConfig` that a context of `engine` is made with.

        Shape-specialized kernels are compiled before the first run with a shape returns (`EAGER`). With the default,
        `LAZY`, a CUDA graph that is captured after the first run would keep the fallback kernels for good.

        Args:
            module: the library.
            engine: an opened engine.
            library_graphs: let the library make a CUDA graph of each shape by itself. Not for a context that is
                captured from outside.
        """
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(module.ExecutionContextAllocationStrategy.USER_MANAGED)
        config.dynamic_shapes_kernel_specialization_strategy = module.DynamicShapesKernelSpecializationStrategy.EAGER
        if hasattr(module, "CudaGraphStrategy"):
            strategies = module.CudaGraphStrategy
            config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE if library_graphs else strategies.DISABLED
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._load()
        config.set_runtime_cache(self._cache)
        return config

    def save(self) -> None:
        """Write what has been compiled since the last time, if anything has."""
        if self._cache is None:
            return
        found = self._cache.serialize()
        content = b"" if found is None else bytes(found)
        if not content or content == self._kept:
            return
        with contextlib.suppress(OSError, BackendError):
            file = VouchedFile(self.path)
            with file.locked():
                file.write(content)
            self._kept = content

    def _load(self) -> None:
        content = None
        with contextlib.suppress(OSError, BackendError):
            file = VouchedFile(self.path)
            with file.locked():
                content = file.read()
        # The library refuses kernels of another version, GPU or driver, and its cache is as empty as before then.
        if content and self._cache.deserialize(content):
            self._kept = content
