"""Engines are proved before anything can load them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_tensorrt import opened

from edgemate.bundle import Bundle
from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt import proving
from edgemate.runtime.backends.tensorrt.loading import EngineFile, find_engines
from edgemate.runtime.backends.tensorrt.options import BuildOptions
from edgemate.runtime.backends.tensorrt.proving import WrongEnginesError, build_proved_engines
from edgemate.runtime.proof import ExitProof
from edgemate.timing import Latency


@pytest.mark.parametrize("problem", [None, "segments, exit 1: wrong"])
def test_no_engine_can_be_found_while_it_is_proved(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, problem: str | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trt = opened("10.3.0")
    proved = []

    def prove(bundle: Bundle, backend: Any, layout: Any, **_: Any) -> tuple[ExitProof, ...]:
        with pytest.raises(BackendError, match="has no engines of its"):
            find_engines(Bundle.open(own_bundle), trt, layout)
        proved.append(layout)
        return (ExitProof(1, 0.0, 1.0, 1.0, 24, problem, Latency(1.0, 1.0, 1.0, 1.0, 1)),)

    def load(bundle: Bundle, *, layout: Any, threads: None, engines: list[EngineFile]) -> Any:
        assert all(engine.path.is_file() for engine in engines), "what is proved is what was built"
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(proving, "prove", prove)
    monkeypatch.setattr(proving.BACKENDS, "get", lambda name: load)
    bundle = Bundle.open(own_bundle)
    if problem is None:
        build_proved_engines(bundle, trt, BuildOptions(), layouts=("segments", "prefixes"))
        assert proved == ["segments", "prefixes"]
        assert find_engines(bundle, trt, "prefixes")
        return
    with pytest.raises(WrongEnginesError):
        build_proved_engines(bundle, trt, BuildOptions())
    assert list((own_bundle / "engines").rglob("*.engine")) == []
