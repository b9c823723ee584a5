"""A backend that says what it was told to."""

from __future__ import annotations

import numpy as np

from edgemate.runtime.backends.base import Backend, ForwardPass


class ScriptedBackend(Backend):
    """Says what it was told to, exit by exit, whatever the images; `kept` is what it was asked to keep."""

    def __init__(self, *logits: list[list[float]]) -> None:
        self.script = [np.array(rows, np.float32) for rows in logits]
        self.kept: list[list[int]] = []

    def begin(self, images: np.ndarray) -> ForwardPass:
        return _ScriptedPass(self)

    def run_prefix(self, exit: int, images: np.ndarray) -> np.ndarray:
        return self.script[exit - 1]

    def run_conditional(self, image: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, int]:
        return self.script[0], 1

    def metadata(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self.script.clear()


class _ScriptedPass(ForwardPass):
    def __init__(self, backend: ScriptedBackend) -> None:
        self._backend = backend
        self._remaining = iter(backend.script)

    def advance(self) -> np.ndarray:
        return next(self._remaining)

    def keep(self, kept: np.ndarray) -> None:
        self._backend.kept.append(kept.tolist())


class StoredBackend(ScriptedBackend):
    """Says of each image of one batch what is stored of it: float32 `(N, K, C)`."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = logits

    def begin(self, images: np.ndarray) -> ForwardPass:
        return _StoredPass(self.logits)


class _StoredPass(ForwardPass):
    def __init__(self, logits: np.ndarray) -> None:
        self._logits = logits
        self._exit = 0

    def advance(self) -> np.ndarray:
        self._exit += 1
        return self._logits[:, self._exit - 1]

    def keep(self, kept: np.ndarray) -> None:
        self._logits = self._logits[kept]
