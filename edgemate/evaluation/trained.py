"""The network of a run, with its weights."""

from __future__ import annotations

from edgemate.errors import RunError, UsageError
from edgemate.models import MultiExitModel, build_model
from edgemate.runs import Run, read_tensors


def trained_model(run: Run) -> MultiExitModel:
    """The multi-exit model of a finished run, on the CPU, in evaluation mode; with mixing if its weights include it.

    Raises:
        RunError: the weights cannot be read, or are not of the network that the run's recipe describes.
    """
    model = untrained_model(run)
    weights = read_tensors(run.model_path)
    try:
        model.set_mixing(weights.get("mixing"))
        model.load_state_dict(weights)
    except (RuntimeError, UsageError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{run.model_path}: not the weights of {run.recipe_path.name}'s network: {reason}") from error
    return model.eval()


def untrained_model(run: Run) -> MultiExitModel:
    """The same network with new weights, on the device that is torch's default."""
    recipe, metadata = run.read_recipe(), run.read_metadata()
    section = recipe.model.model_copy(update={"weights": None})
    if "pretrained" in section.options:  # nothing is to be fetched only to be overwritten
        section = section.model_copy(update={"options": {**section.options, "pretrained": False}})
    shape = metadata.input
    size = shape["height"], shape["width"]
    return build_model(section, recipe.exits, shape["channels"], len(metadata.classes), size)
