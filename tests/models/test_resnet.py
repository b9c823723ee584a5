import pytest
import torch
import torchvision

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import build_model


@torch.no_grad()
def test_uncut_it_is_torchvisions_own_network() -> None:
    torch.manual_seed(0)
    plain = torchvision.models.resnet18(num_classes=7).eval()
    net = build_model(Model(backbone="resnet18"), Exits(at=["layer4"]), 3, 7).eval()
    # The same weights in the same order, whatever they are called.
    ours, theirs = net.state_dict(), plain.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    net.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net(images)[:, 0], plain(images))


def test_the_cifar_stem_keeps_the_images_size() -> None:
    net = build_model(Model(backbone="resnet34", options={"stem": "cifar"}), Exits(), 3, 7)
    features = net.stages[0]({"image": torch.zeros(1, 3, 32, 32)})
    assert features["features"].shape == (1, 64, 32, 32)


def test_pretrained_weights_need_three_channels() -> None:
    with pytest.raises(UsageError, match="pretrained weights are for 3 channels, not 1"):
        build_model(Model(backbone="resnet18", options={"pretrained": True}), Exits(), 1, 7)


def test_pretrained_weights_reach_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    source = torchvision.models.resnet18()
    monkeypatch.setattr(
        torchvision.models.ResNet18_Weights, "get_state_dict", lambda self, *args, **kwargs: source.state_dict()
    )
    net = build_model(Model(backbone="resnet18", options={"pretrained": True}), Exits(), 3, 7)
    assert any(torch.equal(value, source.state_dict()["layer3.0.conv1.weight"]) for value in net.state_dict().values())


def test_weights_that_cannot_be_fetched_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, *args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", refuse)
    with pytest.raises(UsageError, match="was unavailable"):
        build_model(Model(backbone="resnet18", options={"pretrained": True}), Exits(), 3, 7)
