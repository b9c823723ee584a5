"""The metadata of a bundle, from the run that it is made from."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from pydantic import ValidationError

from edgemate.bundle import BundleMetadata, ExitMetadata, Graph, InputContract, PrecisionMetadata
from edgemate.bundle.manifest import Layout
from edgemate.core.scoring import exit_accuracy
from edgemate.data import portable_options
from edgemate.errors import RunError
from edgemate.machine import package_version
from edgemate.models import Costs
from edgemate.runs import Run, RunMetadata
from edgemate.wording import key_path

_TOOLS = ("edgemate", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy")


def bundle_metadata(
    run: Run,
    costs: Costs,
    graphs: Mapping[Layout, Sequence[Graph]],
    precision: PrecisionMetadata | None = None,
    engine_batch: tuple[int, int, int] | None = None,
    contract: InputContract | None = None,
) -> BundleMetadata:
    """The metadata of the bundle of `run`: input, classes, exits with costs and accuracy, graphs, tools and source.

    The input is that of `input_contract`, or `contract`.
    """
    metadata, recipe = run.read_metadata(), run.read_recipe()
    accuracy = {split: exit_accuracy(*run.read_logits(split)).tolist() for split in ("calibration", "test")}
    return BundleMetadata(
        name=run.name,
        created=datetime.now(timezone.utc).replace(microsecond=0),
        tools={"python": platform.python_version()}
        | {tool: version for tool in _TOOLS if (version := package_version(tool)) is not None},
        source={
            "run": run.name,
            "data": metadata.dataset,
            "backbone": recipe.model.backbone,
            "head": recipe.exits.head,
            "method": " + ".join(recipe.distillation.names),
        },
        data_options=portable_options(recipe.data.name, recipe.data.options, recipe.data.skip_damaged),
        test_limit=recipe.data.test_limit,
        input=contract or input_contract(run, metadata),
        classes=metadata.classes,
        exits=tuple(
            ExitMetadata(
                exit=cost.exit,
                name=cut,
                macs=cost.macs,
                chained_macs=cost.chained_macs,
                parameters=cost.parameters,
                accuracy={split: values[cost.exit - 1] for split, values in accuracy.items()},
            )
            for cost, cut in zip(costs.exits, metadata.cuts, strict=True)
        ),
        graphs={layout: tuple(parts) for layout, parts in graphs.items()},
        precision=precision,
        engine_batch=engine_batch,
    )


def input_contract(run: Run, metadata: RunMetadata) -> InputContract:
    """How an image becomes the network's input, float32. Raises RunError where the run does not say it."""
    try:
        return InputContract.model_validate(metadata.input)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = key_path(first["loc"])
        raise RunError(f"{run.metadata_path}: input.{key}: {first['msg']}; train the run again") from error
