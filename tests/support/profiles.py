"""Profiles of runs with made-up times: as much as a report reads, and nothing is measured for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgemate.core.scoring import exit_accuracy
from edgemate.evaluation import trained_model
from edgemate.models import count_costs
from edgemate.profiling.counting import count_model
from edgemate.profiling.device_spec import read_device_specs
from edgemate.runs import Run


def profile_json(run: Run, milliseconds: Sequence[float] = (1.25, 2.5, 4.0), **fields: Any) -> dict[str, Any]:
    """The profile of a run with three exits that stop after these times."""
    accuracy = exit_accuracy(*run.read_logits("test"))
    costs = count_costs(trained_model(run), run.read_golden().images.shape[1:]).exits
    exits = [
        {
            "exit": k + 1,
            "name": name,
            "macs": costs[k].macs,
            "chained_macs": costs[k].chained_macs,
            "parameters": costs[k].parameters,
            "accuracy": float(accuracy[k]),
            "top5": None,
            "ece": 0.05,
            "onnxruntime_prefix": {"p50": 0.9 * milliseconds[k]},
            "onnxruntime_segments": {"p50": milliseconds[k]},
        }
        for k, name in enumerate(run.read_metadata().cuts)
    ]
    machine = {"processor": "test processor", "cores": 2}
    return {"run": run.name, "machine": machine, "threads": 1, "exits": exits, "points": [], **fields}


def counts_json(run: Run, devices: Sequence[str] = ()) -> dict[str, Any]:
    """The counts of a run's profile, with the floors of these devices."""
    shape = run.read_golden().images.shape[1:]
    return count_model(trained_model(run).eval(), shape, read_device_specs(devices)).to_json()


def write_profile_json(run: Run, **fields: Any) -> dict[str, Any]:
    """The same, written into the run's folder."""
    profile = profile_json(run, **fields)
    run.profile_path.write_text(json.dumps(profile))
    return profile
