"""Lightning's advice stays off the screen."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep advice that does not fit (more workers, hardware found) off the screen; errors stay."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in ("does not have many workers", "LeafSpec", "Checkpoint directory", "in eval mode at the start"):
            warnings.filterwarnings("ignore", f".*{message}.*")
        try:
            yield
        finally:
            logger.setLevel(level)
