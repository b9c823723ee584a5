"""`edgemate calibrate RUN`: operating points that every float32 bundle of the run is exported with."""

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
    """Write `policies.json` into the run. Costs are MACs: times are measured on bundles.

    Arguments are those of `edgemate.calibration.calibrate`.

    Raises:
        RunError: the run's files cannot be read.
        UsageError: a request cannot be reached, or is in milliseconds; or there is no such solver. Of these the last
            two are told before torch is imported.
    """
    if any(request.mean_ms is not None for request in options.requests):
        raise UsageError(
            f"{run.path}: a mean latency needs a bundle: export, edgemate bench BUNDLE --device TAG, calibrate BUNDLE"
        )
    SOLVERS.get(options.solver)

    from edgemate.evaluation import trained_model
    from edgemate.models import count_costs

    progress.step("counting what every exit costs")
    costs = count_costs(trained_model(run), run.read_golden().images.shape[1:])
    found = calibrate(
        *run.read_logits("calibration"),
        [cost.chained_macs for cost in costs.exits],
        options,
        progress=progress,
    )
    files.write_json(run.policies_path, found.points.model_dump(mode="json"))
    return found
