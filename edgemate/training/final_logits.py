"""The logits of a finished training on every split that is evaluated."""

from __future__ import annotations

from dataclasses import replace

import torch

from edgemate.data import PreparedData
from edgemate.data.loaders import ImageLoader
from edgemate.distributed.connection import Connection
from edgemate.distributed.sharding import Sharding
from edgemate.evaluation import logit_batches
from edgemate.models import MultiExitModel
from edgemate.progress import SILENT, Progress
from edgemate.runs import Run, Split
from edgemate.training.evaluation_features import EvaluationFeatures


def write_final_logits(
    run: Run,
    model: MultiExitModel,
    data: PreparedData,
    connection: Connection,
    device: torch.device,
    *,
    channels_last: bool = False,
    features: EvaluationFeatures | None = None,
    progress: Progress = SILENT,
) -> tuple[Split, ...]:
    """Write the logits of every evaluated split into a run. All processes call this; rank 0 writes.

    They take the batches of a split in turns, each image once, with the weights of rank 0. The logits reach rank 0 in
    the order of the images, a batch per process at a time, and are not kept.

    Args:
        run: that is trained.
        model: on the CPU, where it is again afterwards.
        data: whole, not divided.
        connection: to the other processes.
        device: that the model runs on.
        channels_last: memory format of the model.
        features: of the splits, which runs with the same frozen backbone share; of one process.
        progress: receives the number of images done.

    Returns:
        The names of the splits.
    """
    world = connection.world
    connection.copy_from_first(model.state_dict().values())
    turns = replace(data, sharding=Sharding(world.rank, world.ranks, in_turns=True))
    loaders: dict[Split, ImageLoader] = {"calibration": turns.calibration_loader(), "test": turns.test_loader()}
    counts: dict[Split, int] = {"calibration": len(data.splits.calibration), "test": len(data.splits.test)}
    if data.target is not None:
        loaders["target_test"] = turns.target_test_loader()
        counts["target_test"] = len(data.target.test)
    model.to(device)
    try:
        for name, loader in loaders.items():
            if features is None or name == "target_test":
                progress.step(f"evaluating the {name.replace('_', ' ')} split, image")
                own = logit_batches(
                    model,
                    loader,
                    device=device,
                    channels_last=channels_last,
                    progress=progress,
                    total=counts[name],
                    processes=world.ranks,
                )
            else:
                own = features.logits(name, loader, device, channels_last, progress)
            batches = connection.in_turns(own, -(-counts[name] // turns.micro_batch_size))
            if world.first:
                run.stream_logits(name, batches, counts[name])
            else:
                for _ in batches:  # nothing comes here; this sends
                    pass
    finally:
        model.to("cpu")
    return tuple(loaders)
