import pytest
import torch

from edgemate.config import Exits, Model
from edgemate.models import Features, MultiExitModel, Segment, Tap, build_model, count_costs
from edgemate.models.heads.inverted_residual import inverted_residual

MOBILENET = Model(backbone="mobilenet_v2")


def model(**options: int) -> MultiExitModel:
    torch.manual_seed(0)
    exits = Exits(head="inverted_residual", at=["features.6", "features.13", "features.18"], options=options)
    return build_model(MOBILENET, exits, channels=3, classes=5, size=(64, 64)).eval()


@pytest.mark.parametrize("reductions", [0, 1, 2])
def test_the_map_is_halved_as_often_as_the_backbone_still_does(reductions: int) -> None:
    head = inverted_residual(Tap(16, 64, reductions), 5).eval()
    assert head.trunk(torch.randn(2, 16, 16, 16)).shape == (2, 384, 16 >> reductions, 16 >> reductions)


@pytest.mark.parametrize(("growth", "width"), [(1.0, 16), (1.5, 40), (2.0, 64)])
def test_channels_grow_by_a_factor_to_multiples_of_eight(growth: float, width: int) -> None:
    head = inverted_residual(Tap(16, 64, 2), 5, growth=growth, features=0)
    assert head.width == width
    assert head({"features": torch.randn(2, 16, 8, 8)})[0].shape == (2, 5)


def test_expansion_and_depth_cost_macs() -> None:
    small, deeper, wider = (
        count_costs(model(**options), (3, 64, 64)).exits[0].macs
        for options in ({"depth": 0}, {"depth": 2}, {"depth": 0, "expansion": 6})
    )
    assert small < deeper
    assert small < wider


@torch.no_grad()
def test_chained_segments_say_what_the_whole_model_says() -> None:
    net = model()
    images = torch.randn(2, 3, 64, 64)
    features: Features = {"image": images}
    for exit in range(1, net.exits + 1):
        features, logits = Segment(net, exit)(features)
        assert torch.equal(logits, net(images)[:, exit - 1])
