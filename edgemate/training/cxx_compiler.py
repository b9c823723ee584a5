"""The C++ compiler that torch.compile needs."""

from __future__ import annotations

import os
import shutil
import sys


def missing_compiler() -> str | None:
    """Why nothing can be compiled here: torch.compile turns networks into C++ first. None where it can."""
    wanted = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(wanted):
        return None
    return f"it needs a C++ compiler, and there is no {wanted} here; install it, name one in CXX, or set it to false"
