"""What TensorRT says while it works: why it failed, kept for the message that needs it, and how far it has come."""

from __future__ import annotations

from collections import deque
from typing import Any

from edgemate.progress import Progress

_KEPT = 4


def make_logger(module: Any) -> Any:
    """An `ILogger` that prints nothing and keeps the last errors, and the last warning.

    8.5 calls the lack of a usable driver a warning, so `reasons()` falls back on that where there is no error.
    TensorRT has one logger per process, the first it is given, and uses it for as long as anything of it lives.
    """

    class ErrorLogger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_KEPT)
            self.warning = ""

        def log(self, severity: Any, message: str) -> None:
            text = " ".join(message.split())
            if severity in (module.Logger.ERROR, module.Logger.INTERNAL_ERROR):
                self.errors.append(text)
            elif severity == module.Logger.WARNING:
                self.warning = text

        def reasons(self) -> str:
            return "; ".join(dict.fromkeys(self.errors)) or self.warning

        def forget(self) -> None:
            self.errors.clear()
            self.warning = ""

    return ErrorLogger()


def make_progress_monitor(module: Any, progress: Progress) -> Any | None:
    """An `IProgressMonitor` that tells the outermost phase and its step; None where the version has none.

    After an interrupt (Ctrl-C) it asks TensorRT to stop, and `interrupted` is true.
    """
    if not hasattr(module, "IProgressMonitor"):
        return None

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._steps[phase_name] = num_steps
                self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps:
                self._tell(phase_name, step + 1)
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def _tell(self, phase: str, step: int) -> None:
            try:  # nothing may be raised through TensorRT's own frames
                progress.advance(step, self._steps[phase], phase)
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()
