"""A small finished run on real images, trained for seconds and without Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from edgemate.config import parse_recipe
from edgemate.core.scoring import ensemble_accuracy, exit_accuracy
from edgemate.data import build_data
from edgemate.evaluation import collect_logits
from edgemate.models import MultiExitModel, build_model
from edgemate.runs import Run, RunMetadata, environment_metadata, write_tensors

RECIPE: dict[str, Any] = {
    "data": {"name": "digits", "calibration_fraction": 0.2},
    "model": {"backbone": "resnet8", "options": {"width": 8}},
    "distillation": {"method": "joint_ce"},
    "optimization": {"epochs": 6, "batch_size": 64},
}


def make_run(path: Path, recipe_tree: Mapping[str, Any] = RECIPE, *, epochs: int = 6) -> Run:
    """Train all exits together with cross-entropy and write everything that a finished run has."""
    torch.manual_seed(0)
    recipe = parse_recipe(recipe_tree, "tests")
    data = build_data(recipe.data, batch_size=recipe.optimization.batch_size)
    model = build_model(recipe.model, recipe.exits, data.spec.channels, len(data.classes))
    _train(model, data.train_loader(), epochs)

    run = Run.create(path)
    run.write_recipe(recipe)
    run.write_environment(environment_metadata())
    run.write_numerics({"precision": "fp32", "channels_last": False})
    write_tensors(run.model_path, model.state_dict())
    for split, loader in (("calibration", data.calibration_loader()), ("test", data.test_loader())):
        logits, labels = collect_logits(model, loader)
        run.write_logits(split, logits, labels)  # type: ignore[arg-type]
    images, labels = next(iter(data.test_loader()))
    run.write_golden(images[:40].numpy(), labels[:40].numpy())
    images = {split: len(getattr(data.splits, split)) for split in ("train", "calibration", "test")}
    run.write_metadata(RunMetadata(recipe.data.name, data.spec.to_json(), data.classes, model.cuts, images))
    run.write_metrics({"accuracy": {split: _figures(run, split) for split in ("calibration", "test")}})
    return run


def _figures(run: Run, split: Any) -> dict[str, Any]:
    logits, labels = run.read_logits(split)
    accuracy = exit_accuracy(logits, labels).tolist()
    return {"images": len(labels), "exits": accuracy, "ensemble": ensemble_accuracy(logits, labels)}


def _train(model: MultiExitModel, loader: Any, epochs: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for images, labels in loader:
            logits = model(images)
            loss = cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(model.exits))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()


def reference_logits(model: MultiExitModel, images: np.ndarray) -> np.ndarray:
    """The network's logits (n, K, C) for images (n, C, H, W)."""
    with torch.inference_mode():
        return model(torch.from_numpy(images)).numpy()
