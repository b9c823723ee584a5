"""Calibration of a run: the operating points that its float32 bundles are exported with."""

from __future__ import annotations

from collections.abc import Sequence

from edgemate import files
from edgemate.errors import UsageError
from edgemate.exits import DEFAULT_REQUESTS, Calibrated, Request, calibrate
from edgemate.progress import SILENT, Progress
from edgemate.registry import SOLVERS
from edgemate.runs import Run


def calibrate_run(
    run: Run,
    *,
    requests: Sequence[Request] = DEFAULT_REQUESTS,
    solver: str = "direct",
    measure: str | None = None,
    fit_temperatures: bool = True,
    progress: Progress = SILENT,
) -> Calibrated:
    """Choose operating points on the run's stored logits, and write its `policies.json`. Costs are MACs.

    Arguments are those of `edgemate.exits.calibrate`.

    Raises:
        RunError: the run's files cannot be read.
        UsageError: a request cannot be met, is in milliseconds, or the solver is unknown. The last two are raised
            before torch is imported.
    """
    if any(request.mean_ms is not None for request in requests):
        raise UsageError(
            f"{run.path}: a mean latency needs a bundle: export, edgemate bench BUNDLE --device TAG, calibrate BUNDLE"
        )
    SOLVERS.get(solver)

    from edgemate.evaluation import trained_model
    from edgemate.models import count_costs

    progress.step("counting the cost of every exit")
    costs = count_costs(trained_model(run), run.read_golden().images.shape[1:])
    found = calibrate(
        *run.read_logits("calibration"),
        [cost.chained_macs for cost in costs.exits],
        requests=requests,
        solver=solver,
        measure=measure,
        fit_temperatures=fit_temperatures,
        progress=progress,
    )
    files.write_json(run.policies_path, found.points.model_dump(mode="json"))
    return found
