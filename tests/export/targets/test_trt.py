from __future__ import annotations

from pathlib import Path

import pytest

from edgemate.errors import ExportError
from edgemate.export import export_run
from edgemate.runs import Run


def test_it_says_what_it_needs_and_what_works(finished_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"--target trt needs an engine builder .* --target onnx") as info:
        export_run(finished_run, tmp_path / "bundle", target="trt")
    assert "\n" not in str(info.value)
    assert not (tmp_path / "bundle").exists()
