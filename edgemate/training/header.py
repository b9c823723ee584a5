"""What a training is about to do, in a few aligned lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemate.data import PreparedData
from edgemate.models import MultiExitModel
from edgemate.wording import counted


@dataclass(frozen=True)
class Setup:
    """How the training runs.

    Attributes:
        backbone: the network's name.
        method: the distillation methods' names.
        device: what it runs on, in words.
        precision: what it computes in, in words.
        memory_format: the layout of images in memory, in words.
        threads: of the CPU's operators.
        workers: processes that prepare batches.
        batch_size: images.
        steps: per epoch.
        epochs: in all.
        images: where the images are kept, in words; empty where cached features replace them.
        division: how several processes and micro-batches divide a batch, in words; empty with one of each.
        frozen: what does not train, in words; empty if everything does.
        features: where the features of the frozen backbone come from, in words; empty if everything trains.
    """

    backbone: str
    method: str
    device: str
    precision: str
    memory_format: str
    threads: int
    workers: int
    batch_size: int
    steps: int
    epochs: int
    images: str = ""
    division: str = ""
    frozen: str = ""
    features: str = ""


def training_header(data: PreparedData, model: MultiExitModel, macs: Sequence[int], setup: Setup) -> list[str]:
    """Dataset with images per split, network with MACs per exit, device, precision and steps: a line each.

    Args:
        data: the dataset, split.
        model: the network.
        macs: from the image to each exit, `(K,)`.
        setup: the rest.
    """
    metadata, splits = data.spec, data.splits
    counts = {"training": len(splits.train), "calibration": len(splits.calibration), "test": len(splits.test)}
    if data.target is not None:
        counts |= {"unlabeled": len(data.target.train), "target test": len(data.target.test)}
    images = ", ".join(f"{number:,} {split}" for split, number in counts.items())
    exits = ", ".join(
        f"{k} {cut} {_count(cost)}" for k, (cut, cost) in enumerate(zip(model.cuts, macs, strict=True), 1)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = {
        "dataset": f"{data.source.name}, {counted(len(data.classes), 'class')}; images: {images}",
        "input": f"{metadata.height}×{metadata.width}, {counted(metadata.channels, 'channel')}",
        **({"images": setup.images} if setup.images else {}),
        "network": f"{setup.backbone}, {_count(parameters)} parameters, trained by {setup.method}",
        "exits": f"{exits} MACs",
        **({"frozen": setup.frozen, "features": setup.features} if setup.frozen else {}),
        "device": f"{setup.device}, {counted(setup.threads, 'thread')}; "
        f"{counted(setup.workers, 'process') if setup.workers else 'no process'} beside it to load images",
        "precision": f"{setup.precision}, {setup.memory_format}",
        "steps": f"{setup.steps:,} per epoch of {setup.batch_size} images, {setup.steps * setup.epochs:,} "
        f"in {counted(setup.epochs, 'epoch')}",
        **({"batch": setup.division} if setup.division else {}),
    }
    width = max(map(len, rows))
    return [f"{name:<{width}}  {text}" for name, text in rows.items()]


def division_of_a_batch(batch_size: int, ranks: int, accumulate: int, lr: float) -> str:
    """How processes and micro-batches divide a batch, and what that means for the learning rate, in words."""
    parts = ranks * accumulate
    if parts == 1:
        return ""
    each = f"{counted(ranks, 'process')} × {counted(accumulate, 'micro-batch')} × {batch_size // parts}"
    return (
        f"{batch_size} images effectively: {each}; it is the recipe's with any number of processes, so the learning "
        f"rate stays {lr:g}"
    )


def _count(number: float) -> str:
    """Three significant digits and a prefix: 1234567 → `1.23 M`."""
    for prefix in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g} {prefix}".rstrip()
        number /= 1000
    return f"{number:.3g} G"
