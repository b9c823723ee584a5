"""Calibration of a run: the operating points that its float32 bundles are exported with."""

from __future__ import annotations

from edgemate import files
from edgemate.calibration import Calibrated, CalibrationOptions, calibrate
from edgemate.errors import UsageError
from edgemate.progress import SILENT, Progress
from edgemate.registry import SOLVERS
from edgemate.runs import Run

_DEFAULTS = CalibrationOptions()


def calibrate_run(
    run: Run,
    options: CalibrationOptions = _DEFAULTS,
    *,
    progress: Progress = SILENT,
) -> Calibrated:
    """Choose operating points on the run's stored logits, and write its `policies.json`. Costs are MACs.

    Arguments are those of `edgemate.calibration.calibrate`.

    Raises:
        RunError: the run's files cannot be read.
        UsageError: a request cannot be met, is in milliseconds, or the solver is unknown. The last two are raised
            before torch is imported.
    """
    if any(request.mean_ms is not None for request in options.requests):
        raise UsageError(
            f"{run.path}: a mean latency needs a bundle: export, edgemate bench BUNDLE --device TAG, calibrate BUNDLE"
        )
    SOLVERS.get(options.solver)

    from edgemate.evaluation import trained_model
    from edgemate.models import count_costs

    progress.step("counting the cost of every exit")
    costs = count_costs(trained_model(run), run.read_golden().images.shape[1:])
    found = calibrate(
        *run.read_logits("calibration"),
        [cost.chained_macs for cost in costs.exits],
        options,
        progress=progress,
    )
    files.write_json(run.policies_path, found.points.model_dump(mode="json"))
    return found
