from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import make_run

from edgemate.config import Data
from edgemate.config.schema import FILLED_BY_WEIGHTS
from edgemate.core.input_spec import InputSpec, Resize
from edgemate.data import build_data
from edgemate.errors import DataError, UsageError
from edgemate.models.networks.inputs import input_defaults
from edgemate.runs import Run, RunMetadata
from edgemate.training.input_defaults import with_input_defaults

LITE0 = {
    "image_size": 224,
    "resize": None,
    "resize_to": 256,
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def filled(backbone: str, weights: str | None, **given: Any) -> dict[str, Any]:
    data = with_input_defaults(Data(name="image_folder", **given), backbone, weights)
    return {key: getattr(data, key) for key in LITE0}


@pytest.mark.parametrize("weights", ["pretrained", "file:weights.safetensors"])
def test_weights_bring_their_own_input(weights: str) -> None:
    assert filled("timm/tf_efficientnet_lite0", weights) == LITE0


def test_nothing_else_is_filled() -> None:
    assert set(LITE0) == set(FILLED_BY_WEIGHTS)
    before = Data(name="image_folder")
    after = with_input_defaults(before, "timm/tf_efficientnet_lite0", "pretrained")
    assert before.model_dump(exclude=set(FILLED_BY_WEIGHTS)) == after.model_dump(exclude=set(FILLED_BY_WEIGHTS))


def test_without_weights_nothing_changes() -> None:
    assert set(filled("timm/tf_efficientnet_lite0", None).values()) == {None}
    assert set(filled("resnet18", "pretrained").values()) == {None}


def test_what_the_recipe_says_stays() -> None:
    given = {"image_size": 96, "mean": [0.1] * 3, "std": [0.2] * 3, "interpolation": "nearest"}
    assert filled("timm/tf_efficientnet_lite0", "pretrained", **given) == {**given, "resize": None, "resize_to": None}
    assert filled("timm/tf_efficientnet_lite0", "pretrained", resize="stretch")["resize_to"] is None


def test_torchvision_and_gray_images() -> None:
    found = filled("torchvision/mobilenet_v3_small", "pretrained", options={"channels": 1})
    assert found["mean"] == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert (found["image_size"], found["resize_to"], found["interpolation"]) == (224, 256, "bilinear")


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_what_torchvision_would_turn_into_a_half_is_a_half(name: str) -> None:
    assert filled(f"torchvision/{name}", "pretrained")["mean"] == [0.5, 0.5, 0.5]
    assert filled(f"torchvision/{name}", "file:weights.pth")["std"] == [0.5, 0.5, 0.5]
    known = input_defaults(f"torchvision/{name}", {"arguments": {"transform_input": True}})
    assert known is not None
    assert known.mean == (0.485, 0.456, 0.406), "the network itself does it"


def test_datasets_of_gray_images_are_known() -> None:
    data = with_input_defaults(Data(name="digits"), "timm/tf_efficientnet_lite0", "pretrained")
    assert (data.mean, data.std) == ([0.5], [0.5])


def write_images(path: Path, *channels: int) -> None:
    images, labels = np.zeros((8, 16, 16, *channels), np.uint8), np.arange(8) % 2
    images[::2] = 200
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)


OWN = """
import numpy as np
from edgemate.data import ArrayImages, DataSource

def gray(*, fails: bool = False) -> DataSource:
    if fails:
        raise OSError("it was read")
    images = ArrayImages(np.zeros((8, 16, 16, 1), np.uint8), np.arange(8) % 2)
    return DataSource(name="gray", classes=("a", "b"), channels=1, train=images, test=images, size=(16, 16))
"""


@pytest.mark.parametrize(("channels", "expected"), [((), 1), ((1,), 1), ((3,), 3)])
def test_the_channels_of_an_archive_are_found(tmp_path: Path, channels: tuple[int, ...], expected: int) -> None:
    write_images(tmp_path / "images.npz", *channels)
    before = Data(name="arrays", options={"path": str(tmp_path / "images.npz")}, calibration_fraction=0.5)
    data = with_input_defaults(before, "timm/tf_efficientnet_lite0", "pretrained")
    assert (data.mean, data.std) == ([0.5] * expected, [0.5] * expected)
    assert build_data(data).spec.mean == (0.5,) * expected
    assert with_input_defaults(before, "timm/tf_efficientnet_lite0", "pretrained") == data, "a run can be resumed"


def test_the_channels_of_ones_own_dataset_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_images.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    before = Data(name="own_images:gray")
    assert with_input_defaults(before, "timm/tf_efficientnet_lite0", "pretrained").mean == [0.5]
    failing = Data(name="own_images:gray", options={"fails": True})
    with pytest.raises(DataError, match="it was read"):
        with_input_defaults(failing, "timm/tf_efficientnet_lite0", "pretrained")
    sized = with_input_defaults(failing, "timm/tf_efficientnet_lite0", "pretrained", normalization=False)
    assert (sized.image_size, sized.mean) == (224, None)


def test_a_run_gives_its_own_input(tmp_path_factory: pytest.TempPathFactory) -> None:
    run = make_run(tmp_path_factory.mktemp("run") / "run", epochs=0)
    spec = run.read_metadata().input
    found = filled("resnet8", f"run:{run.path}")
    assert (found["image_size"], found["mean"], found["std"]) == (spec["height"], spec["mean"], spec["std"])
    with pytest.raises(UsageError, match=r"model\.weights"):
        filled("resnet8", "run:nowhere")


@pytest.mark.parametrize(
    ("resize", "crop", "size", "expected"),
    [
        (None, None, (28, 28), (28, None, None)),
        (None, None, (28, 20), (None, None, None)),
        ({"mode": "stretch", "size": (64, 64)}, None, (64, 64), (64, "stretch", None)),
        ({"mode": "shorter_side", "size": 73}, (64, 64), (64, 64), (64, "shorter_side", 73)),
    ],
)
def test_a_runs_images_are_prepared_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    resize: dict[str, Any] | None,
    crop: tuple[int, int] | None,
    size: tuple[int, int],
    expected: tuple[int | None, str | None, int | None],
) -> None:
    step = None if resize is None else Resize(**resize)
    height, width = size
    spec = InputSpec(channels=1, height=height, width=width, resize=step, center_crop=crop, mean=(0.5,), std=(0.5,))
    monkeypatch.setattr(Run, "open", lambda path: Run(path))
    monkeypatch.setattr(
        Run, "read_metadata", lambda self: RunMetadata("digits", spec.to_json(), ("a", "b"), ("end",), {})
    )
    data = with_input_defaults(Data(name="image_folder"), "resnet8", "run:somewhere")
    assert (data.image_size, data.resize, data.resize_to) == expected
