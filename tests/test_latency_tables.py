from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bundles import write_small_bundle

from edgemate import latency_tables
from edgemate.bundle import Bundle
from edgemate.errors import BundleError
from edgemate.latency_tables import (
    QUANTILES,
    LatencyTable,
    StopTimes,
    matching_latency_table,
    read_latency_table,
    write_latency_table,
)
from edgemate.machine import memory_gib, processor

BACKEND = {"backend": "onnxruntime", "threads": "1"}
NOW = datetime(2024, 5, 6, tzinfo=timezone.utc)


@pytest.fixture
def own_bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "own").path


def table(device: str, *, exits: int = 3, here: bool = True, **changes: Any) -> LatencyTable:
    times = [
        StopTimes(exit=k, mean_ms=k, quantiles_ms=(float(k),) * len(QUANTILES), segment_p99_ms=1.0)
        for k in range(1, exits + 1)
    ]
    metadata = {"device": device, "machine": {"processor": processor() if here else "a board"}, "backend": BACKEND}
    return LatencyTable.model_validate({**metadata, "repeats": 9, "exits": times, **changes})


def test_a_table_of_an_older_format_says_what_to_do(own_bundle: Path) -> None:
    write_latency_table(Bundle.open(own_bundle), table("board"))
    path = own_bundle / "latency" / "board.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(BundleError, match=r"board\.json: .* older .*format 1.*: run edgemate bench --device again"):
        read_latency_table(Bundle.open(own_bundle), "board")


def found(bundle: Bundle, preferred: str | None = None) -> str | None:
    table = matching_latency_table(bundle, BACKEND, preferred)
    return None if table is None else table.device


def test_only_a_table_of_this_processor_and_this_backend_matches(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    assert found(bundle) is None
    write_latency_table(bundle, table("elsewhere", here=False))
    write_latency_table(bundle, table("more-threads", backend={**BACKEND, "threads": "2"}))
    assert found(bundle) is None
    assert found(bundle, "elsewhere") is None
    write_latency_table(bundle, table("here"))
    assert found(bundle) == "here"


def test_of_several_the_operating_points_own_comes_first_then_the_newest(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    for days, device in enumerate(("b", "c", "a")):
        write_latency_table(bundle, table(device, measured=NOW + timedelta(days=days)))
    write_latency_table(bundle, table("0", measured=NOW + timedelta(days=1)))
    assert found(bundle) == "a"
    assert found(bundle, "c") == "c"
    assert found(bundle, "gone") == "a"


def test_a_table_that_does_not_say_when_is_as_old_as_its_file(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    for seconds, device in enumerate(("b", "a")):
        path = bundle.path / write_latency_table(bundle, table(device))
        os.utime(path, (1e9 - seconds, 1e9 - seconds))
    assert found(bundle) == "b"


@pytest.mark.parametrize("name", ["a-first", "z-last"])
def test_tables_of_others_that_cannot_be_read_do_no_harm(own_bundle: Path, name: str) -> None:
    bundle = Bundle.open(own_bundle)
    write_latency_table(bundle, table("here"))
    for content in ("half of it", "{}", '{"format_version": 99}'):
        (bundle.path / "latency" / f"{name}.json").write_text(content)
        assert found(bundle) == "here"
    write_latency_table(bundle, table(name, exits=2))
    assert found(bundle) == "here"


def test_what_differs_here_is_named() -> None:
    assert table("here").differences(BACKEND) == []
    assert table("here").differences({**BACKEND, "threads": "4"}) == ["threads 1, here 4"]
    assert table("far", here=False).differences(BACKEND) == [f"processor a board, here {processor()}"]
    assert table("old").differences({**BACKEND, "version": "2"}) == ["version unknown, here 2"]


def test_a_table_of_another_power_mode_does_not_match(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(own_bundle)
    monkeypatch.setattr(latency_tables, "read_speed_settings", lambda: {"power mode": "15W"})
    machine = {"processor": processor(), "memory_gib": memory_gib(), "power mode": "MAXN"}
    write_latency_table(bundle, table("maxn", machine=machine))
    assert found(bundle) is None
    assert table("maxn", machine=machine).setting_differences() == ["power mode MAXN, here 15W"]
    write_latency_table(bundle, table("15w", machine={**machine, "power mode": "15W"}))
    assert found(bundle) == "15w"


def test_settings_are_compared_on_the_machine_that_was_measured_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_tables, "read_speed_settings", lambda: {"power mode": "15W"})
    assert table("far", machine={"processor": "a board", "power mode": "MAXN"}).setting_differences() == []


def test_a_table_that_does_not_have_the_memory_is_of_any(own_bundle: Path) -> None:
    """Such are those of earlier versions."""
    here = {"processor": processor(), "memory_gib": (memory_gib() or 0) + 8}
    assert table("here", machine={"processor": processor()}).differences(BACKEND) == []
    assert table("more", machine=here).differences(BACKEND) == [
        f"memory {here['memory_gib']} GiB, here {memory_gib()} GiB"
    ]


@pytest.mark.parametrize("field", ["mean_ms", "segment_p99_ms", "quantiles_ms"])
def test_times_whose_sums_are_not_finite_are_refused(field: str) -> None:
    times: dict[str, object] = {"exit": 1, "mean_ms": 1.0, "quantiles_ms": (1.0,) * 103, "segment_p99_ms": 1.0}
    StopTimes.model_validate(times)
    with pytest.raises(ValueError, match="less than or equal to 1000000000"):
        StopTimes.model_validate({**times, field: (1e308,) * 103 if field == "quantiles_ms" else 1e308})
