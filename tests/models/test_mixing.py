import pytest
import torch

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import Features, MultiExitModel, Prefix, Segment, build_model, count_costs, mean_mixing
from edgemate.models.multi_exit import RAW_LOGITS

WEIGHTS = torch.tensor([[1.0, 0, 0], [0.25, 0.75, 0], [0.5, -1, 2]])


def resnet8(weights: torch.Tensor | None = None, classes: int = 5) -> MultiExitModel:
    torch.manual_seed(0)
    net = build_model(Model(backbone="resnet8", options={"width": 4}), Exits(), channels=1, classes=classes).eval()
    net.set_mixing(weights)
    return net


@torch.no_grad()
def test_an_exit_returns_the_weighted_sum_of_its_and_earlier_logits() -> None:
    images, net = torch.randn(4, 1, 8, 8), resnet8(WEIGHTS)
    raw_logits, ensembled = net.outputs(images).logits, net(images)
    torch.testing.assert_close(raw_logits, resnet8()(images))
    torch.testing.assert_close(ensembled[:, 1], 0.25 * raw_logits[:, 0] + 0.75 * raw_logits[:, 1])
    torch.testing.assert_close(ensembled, torch.einsum("kj,njc->nkc", WEIGHTS, raw_logits))


@torch.no_grad()
def test_mean_and_identity_mixing() -> None:
    images = torch.randn(4, 1, 8, 8)
    raw_logits = resnet8()(images)
    means = torch.stack([raw_logits[:, :k].mean(1) for k in (1, 2, 3)], 1)
    torch.testing.assert_close(resnet8(mean_mixing(3))(images), means)
    torch.testing.assert_close(resnet8(torch.eye(3))(images), raw_logits)


@torch.no_grad()
def test_prefixes_and_chained_segments_answer_as_the_whole_model_does() -> None:
    images, net = torch.randn(2, 1, 8, 8), resnet8(WEIGHTS)
    whole = net(images)
    features: Features = {"image": images}
    for exit in range(1, net.exits + 1):
        features, logits = Segment(net, exit)(features)
        assert features[RAW_LOGITS].shape == (2, exit, 5)
        torch.testing.assert_close(logits, whole[:, exit - 1])
        torch.testing.assert_close(Prefix(net, exit)(images), whole[:, exit - 1])


def test_the_weights_are_stored_with_the_model_only_when_there_are_some() -> None:
    net = resnet8()
    assert "mixing" not in net.state_dict()
    net.set_mixing(WEIGHTS)
    place = net.mixing
    net.set_mixing(mean_mixing(3))
    assert net.mixing is place  # where checkpoints and averages know it
    torch.testing.assert_close(net.state_dict()["mixing"], mean_mixing(3))
    assert not any(parameter is place for parameter in net.parameters())
    net.set_mixing(None)
    assert "mixing" not in net.state_dict()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(2, 2).tril(), "3 exits need 3 × 3 weights, not 2 × 2"),
        (torch.ones(3, 3), "an exit cannot use a later one"),
    ],
)
def test_weights_that_no_exit_could_use_in_time_are_refused(weights: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resnet8(weights)


def test_mixing_costs_a_product_per_class_and_exit_so_far_and_prefixes_the_earlier_heads() -> None:
    alone, mixed = (count_costs(resnet8(weights, classes=7), (1, 8, 8)) for weights in (None, WEIGHTS))
    for before, after in zip(alone.exits, mixed.exits, strict=True):
        k = after.exit
        assert after.chained_macs - before.chained_macs == 7 * sum(range(1, k + 1))
        assert after.macs - before.chained_macs == 7 * k
        assert after.parameters == after.chained_parameters == before.chained_parameters
    assert mixed.skipped == alone.skipped | {"aten::mean": 3}  # two heads more, and nothing of the mixture
