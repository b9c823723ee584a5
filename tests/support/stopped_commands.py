"""Commands that are stopped by a signal in the middle of their work, for `prepared.running`."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from prepared import command_line


def stop_at(number: int, *arguments: str) -> None:
    """Run the command, which gets SIGTERM when it has synced so many times."""
    real, count = os.fsync, iter(range(1, 1000))

    def fsync(handle: int) -> None:
        real(handle)
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    os.fsync = fsync
    command_line(*arguments)


class Signalled:
    """Is sent a signal while it is deleted, where Python drops what that raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(60)


def interrupted_in_a_destructor(*arguments: str) -> None:
    """Run the training, which gets SIGINT in a destructor in the second epoch."""
    from edgemate.training.live import Live

    real = Live.on_train_epoch_start

    def on_train_epoch_start(self: Live, trainer: Any, task: Any) -> None:
        real(self, trainer, task)
        if trainer.current_epoch == 1:
            Signalled(signal.SIGINT)

    Live.on_train_epoch_start = on_train_epoch_start  # type: ignore[method-assign]
    command_line(*arguments)


def in_the_background(*arguments: str) -> None:
    """Run the command as `nohup edgemate … &` in a script does: SIGINT is ignored from the start."""
    from edgemate.cli.start import main

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.argv = ["edgemate", *arguments]
    main()
