"""The kernel that decides whether an image stops, and how it is started.

It is PTX, which the driver compiles for the GPU when it loads it: the device needs no compiler. PTX names
`cudaGraphSetConditional` as an external function, and the driver itself supplies that, as XLA relies on too; neither
libcudadevrt nor nvJitLink is needed.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.cuda_libraries import open_driver

PTX = Path(__file__).parent / "decision.ptx"
THREADS = 128
"""In its one block, as decision.cu says."""


class DecisionKernel:
    """`decide` of decision.cu. A call of the runtime, such as one that makes a stream, must have come before.

    Raises:
        BackendError: there is no libcuda, or the driver does not take the PTX.
    """

    def __init__(self) -> None:
        try:
            self._driver = open_driver()
        except (OSError, AttributeError) as error:
            raise BackendError(f"libcuda, the driver's library, cannot be used ({error})") from error
        self._module = self._call("cuModuleLoadData", PTX.read_bytes())
        try:
            self._function = self._call("cuModuleGetFunction", self._module, b"decide")
        except BackendError:
            self.close()
            raise

    def enqueue(
        self, stream: Any, handle: int, logits: int, rules: int, answer: int, exit: int, exits: int, classes: int
    ) -> None:
        """Let `stream` decide about the logits of `exit`.

        Args:
            stream: where.
            handle: the condition that becomes 1 where the image goes on and 0 where it stops; unused at the last exit.
            logits: address of float32 `(classes,)`.
            rules: address of a rule per exit but the last.
            answer: address of the answer; see decision.cu.
            exit: counted from 1.
            exits: how many there are.
            classes: how many there are.
        """
        values = (
            *(ctypes.c_ulonglong(number) for number in (handle, logits, rules, answer)),
            *(ctypes.c_int(number) for number in (exit, exits, classes)),
        )
        places = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        self._call("cuLaunchKernel", self._function, 1, 1, 1, THREADS, 1, 1, 0, int(stream), places, None)

    def close(self) -> None:
        """Give the kernel back; nothing that was captured with it may run any more."""
        self._call("cuModuleUnload", self._module)

    def _call(self, name: str, *arguments: Any) -> Any:
        answer = getattr(self._driver, name)(*arguments)
        status, found = answer if isinstance(answer, tuple) else (answer, None)
        if status:
            said = b" ".join(
                text or b"" for _, text in (self._driver.cuGetErrorName(status), self._driver.cuGetErrorString(status))
            )
            raise BackendError(f"CUDA: {name} failed: {said.decode(errors='replace').strip() or status}")
        return found
