"""What a finished training leaves in its run: metadata, weights, golden images and final metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgemate import files
from edgemate.core.class_report import ClassReport
from edgemate.core.class_tables import confusion_csv, per_class_csv
from edgemate.core.scoring import ensemble_accuracy
from edgemate.data import EvaluationTransform, PreparedData
from edgemate.runs import Run, RunMetadata, Split, write_tensors
from edgemate.training.callbacks import Record
from edgemate.training.task import MultiExitTask

_GOLDEN_IMAGES = 32


def write_results(
    run: Run,
    task: MultiExitTask,
    data: PreparedData,
    evaluated: Sequence[Split],
    record: Record,
    kept_epoch: int,
    extra: Mapping[str, Any],
) -> None:
    """Weights, golden images and the final figures, `extra` ones included, of splits whose logits are in the run."""
    splits = {}
    reports: dict[str, ClassReport] = {}
    for name in evaluated:
        logits, labels = run.read_logits(name)
        report = reports[name] = ClassReport.of(logits, labels, data.classes)
        splits[name] = {
            "images": len(labels),
            "exits": report.top1.tolist(),
            **({} if report.top5 is None else {"top5": report.top5.tolist()}),
            "ensemble": float(ensemble_accuracy(logits, labels)),
        }
    chosen = np.linspace(0, len(data.splits.test) - 1, min(_GOLDEN_IMAGES, len(data.splits.test))).astype(np.int64)
    golden = data.splits.test[chosen]
    images = EvaluationTransform(data.spec)(data.source.test, golden).numpy()
    run.write_golden(images, data.source.test.labels[golden])
    write_tensors(run.model_path, task.model.state_dict())
    own = task.method.state_dict()
    if own:
        write_tensors(run.method_path, own)
    files.write_text(run.per_class_path, per_class_csv(reports))
    files.write_text(run.confusion_path, confusion_csv(reports))
    last = record.rows[-1]
    run.write_metrics(
        {
            "accuracy": splits,
            "kept_epoch": kept_epoch,
            "epochs": len(record.rows),
            "train_seconds": sum(row["seconds"] for row in record.rows),
            # As after the last epoch, also where that was before this process.
            "method": {key.removeprefix("method/"): of for key, of in last.items() if key.startswith("method/")},
            **extra,
        }
    )


def metadata_of(dataset: str, data: PreparedData, cuts: tuple[str, ...]) -> RunMetadata:
    """Metadata of a run: its dataset's name, splits and classes, and the network's cut points."""
    splits = data.splits
    images = {"train": len(splits.train), "calibration": len(splits.calibration), "test": len(splits.test)}
    if data.target is not None:
        images |= {"unlabeled": len(data.target.train), "target_test": len(data.target.test)}
    return RunMetadata(
        dataset=dataset,
        input=data.spec.to_json(),
        classes=data.classes,
        cuts=cuts,
        images=images,
    )
