"""Networks cut by their graph, from a recipe's sections to a model."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from runs import make_run
from safetensors.torch import save_file
from torch import Tensor, nn

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import MultiExitModel, build_model
from edgemate.models.networks.own_networks import own_network
from edgemate.models.networks.timm_networks import timm_network
from edgemate.models.networks.torchvision_networks import torchvision_network
from edgemate.models.planning import plan_network
from edgemate.runs import Run, write_tensors

NAME = "timm/test_efficientnet"
SIDE = 64


def model(exits: Exits, classes: int = 6, weights: str | None = None, name: str = NAME) -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(Model(backbone=name, weights=weights), exits, 3, classes, (SIDE, SIDE))


def library() -> nn.Module:
    torch.manual_seed(1)
    return timm_network(NAME.removeprefix("timm/"), 3, None, False).module.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(library().state_dict(), path)
    return path


def test_the_own_classifier_with_its_own_classes_gives_the_networks_logits(weights: Path) -> None:
    network = library()
    classes = network.state_dict()["classifier.bias"].numel()
    built = model(Exits(at="auto", count=3), classes, f"file:{weights}").eval()
    assert built.heads[-1].pretrained
    assert built.notes == []
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(built(images)[:, -1], network(images))


def test_other_classes_get_a_new_last_layer_on_equal_features(weights: Path) -> None:
    network = library()
    built = model(Exits(at="auto", count=2), 6, f"file:{weights}").eval()
    assert not built.heads[-1].pretrained
    (note,) = built.notes
    assert "is replaced by a new one of 6" in note
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert built(images).shape == (2, 2, 6)
        pooled = network.forward_head(network.forward_features(images), pre_logits=True)  # type: ignore[operator]
        assert torch.equal(built.outputs(images).pooled[-1], pooled)


def test_a_network_may_end_at_an_earlier_exit_with_a_new_head() -> None:
    whole = model(Exits(at="auto", count=4))
    early = list(whole.cuts[:2])
    built = model(Exits(at=early, final="new"))
    assert built.cuts == tuple(early)
    assert built(torch.randn(2, 3, SIDE, SIDE)).shape == (2, 2, 6)
    with pytest.raises(UsageError, match=r"the last exit is at .* set exits\.final: new"):
        model(Exits(at=early))


def test_backbones_without_a_classifier_have_none_to_keep() -> None:
    with pytest.raises(UsageError, match="comes without a classifier"):
        build_model(Model(backbone="resnet8"), Exits(final="own"), 3, 5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm/mobilenetv3_smal_100", "did you mean timm/mobilenetv3_small_100"),
        ("torchvision/resnet19", "did you mean torchvision/resnet1"),
        ("timm/resnet18.nobody", "timm has no weights 'resnet18.nobody'"),
    ],
)
def test_unknown_names_have_the_closest_ones(name: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        model(Exits(), name=name)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_place_where_no_exit_can_stand_names_the_closest_cuts() -> None:
    with pytest.raises(UsageError, match=r"unknown cut point 'blocks\.9'") as raised:
        model(Exits(at=["blocks.9", "global_pool"]))
    assert "blocks." in str(raised.value).partition("'blocks.9'")[2]


def test_an_image_size_that_the_network_cannot_take_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"cannot take images of 40×40.*data\.image_size") as raised:
        build_model(Model(backbone="torchvision/vit_b_16"), Exits(), 3, 5, (40, 40))
    assert "\n" not in str(raised.value)


# ---- weights of another run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run whose network is replaced by one of timm, with recognizable weights."""
    made = make_run(tmp_path_factory.mktemp("runs") / "run", epochs=0)
    built = model(Exits(at="auto", count=3))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(1.0)
    write_tensors(made.model_path, built.state_dict())
    metadata = made.read_metadata()
    made.write_metadata(type(metadata)(**{**vars(metadata), "cuts": built.cuts}))
    return made


def test_a_run_of_the_same_exits_gives_all_its_weights(run: Run) -> None:
    built = model(Exits(at="auto", count=3), weights=f"run:{run.path}")
    expected = model(Exits(at="auto", count=3)).state_dict()
    for name, parameter in built.named_parameters():
        assert torch.equal(parameter, expected[name] + 1), name
    assert built.notes == []


@pytest.mark.parametrize(("exits", "classes"), [(Exits(at="auto", count=5), 6), (Exits(at="auto", count=3), 9)])
def test_other_exits_or_classes_take_the_backbone_and_what_else_fits(exits: Exits, classes: int, run: Run) -> None:
    built = model(exits, classes, f"run:{run.path}")
    expected = model(exits, classes).state_dict()
    parameters = dict(built.named_parameters())
    for name in parameters:
        if name.startswith("stages."):
            assert torch.equal(parameters[name], expected[name] + 1), name
    (note,) = built.notes
    assert "are new" in note


def test_heads_are_found_by_their_cut(run: Run) -> None:
    first, *_, last = run.read_metadata().cuts
    exits = Exits(at=[first, last])
    built = model(exits, weights=f"run:{run.path}")
    expected = model(exits).state_dict()
    assert built.notes == []
    assert all(torch.equal(parameter, expected[name] + 1) for name, parameter in built.named_parameters())


def test_a_run_of_another_backbone_is_one_line(run: Run) -> None:
    with pytest.raises(UsageError, match="a run of another backbone"):
        model(Exits(at="auto", count=3), weights=f"run:{run.path}", name="timm/test_resnet")
    with pytest.raises(UsageError, match=r"model\.weights"):
        model(Exits(), weights=f"run:{run.path}/nowhere")


# ---- networks of the user's


class Mine(nn.Module):
    def __init__(self, in_channels: int, num_classes: int, *, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(in_channels if i == 0 else width, width, 3, 1, 1) for i in range(3)))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


def by_position(channels_of_the_image: int, /, width: int = 4) -> nn.Module:
    return Mine(channels_of_the_image, 10, width=width)


def fails(in_channels: int) -> nn.Module:
    raise ValueError(f"no network\nfor {in_channels} channels")


def nothing(in_channels: int) -> None:
    return None


@pytest.mark.parametrize("factory", [Mine, by_position])
def test_a_users_network_is_given_what_it_asks_for(factory: Callable[..., Any]) -> None:
    made = own_network("my:Net", factory, 1, 7, {"width": 5})
    assert made.module.body[0].weight.shape[:2] == (5, 1)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("factory", "words"),
    [(fails, "ValueError: no network for 1 channels"), (nothing, "returned a NoneType"), (3, "is a int")],
)
def test_what_is_no_network_is_one_line(factory: Any, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        own_network("my:Net", factory, 1, 7, {})
    assert "my:Net" in str(raised.value)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def short(in_channels: int, num_classes: int) -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Conv2d(4, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(layers, nn.Linear(8, num_classes))


def test_a_network_with_few_cut_points_gets_as_many_exits_as_its_plan_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.registry.BACKBONES.get", lambda name: short)
    section = Model(backbone="my_pkg.my_mod:short")
    plan = plan_network(section, Exits(), size=(12, 12), classes=5)
    assert 1 < len(plan.exits) < 4
    assert list(build_model(section, Exits(), 3, 5, (12, 12)).cuts) == [cut.name for cut in plan.exits]


def test_pretrained_weights_of_torchvision_read_gray_images_as_gray_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    colored = torchvision.models.mobilenet_v3_small()
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights, **options: deepcopy(colored))
    gray = torchvision_network("mobilenet_v3_small", 1, None, True).module.eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(gray(images), colored.eval()(images.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(("name", "side"), [("googlenet", 64), ("inception_v3", 96)])
def test_a_network_with_pretrained_weights_is_the_one_that_its_run_is_opened_as(
    monkeypatch: pytest.MonkeyPatch, name: str, side: int
) -> None:
    torch.manual_seed(0)
    state = torchvision.models.get_model(name, aux_logits=True, init_weights=False).state_dict()
    monkeypatch.setattr(
        torchvision.models.get_model_weights(name), "get_state_dict", lambda self, *given, **options: deepcopy(state)
    )
    section, exits = Model(backbone=f"torchvision/{name}", weights="pretrained"), Exits(count=2)
    trained = build_model(section, exits, 3, 10, (side, side)).eval()
    opened = build_model(section.model_copy(update={"weights": None}), exits, 3, 10, (side, side)).eval()
    opened.load_state_dict(trained.state_dict())
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(trained(images), opened(images))


def test_a_transformed_input_that_is_asked_for_stays() -> None:
    network = torchvision_network("googlenet", 3, None, False, arguments={"transform_input": True}).module
    assert network.transform_input is True
