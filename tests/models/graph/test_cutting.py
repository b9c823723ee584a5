"""Small networks of different kinds, traced and cut: the parts are the whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.errors import UsageError
from edgemate.models import Backbone, Features, MultiExitModel
from edgemate.models.graph.classifier import replace_classifier
from edgemate.models.graph.cutting import cut_network, layout_of, token_grid
from edgemate.models.heads.linear import linear

SHAPE = (3, 16, 16)


class Residual(nn.Module):
    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride, 1)
        self.bn = nn.BatchNorm2d(width)
        self.short = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)) + self.short(x))


class Net(nn.Module):
    """A stem, blocks in a row and a linear classifier."""

    def __init__(self, blocks: list[nn.Module], width: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = self.blocks(x)
        return self.fc(x.mean((2, 3)))


class Windows(nn.Module):
    """Reshapes by numbers that it computes from the shape, the batch size among them."""

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        windows = (
            x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b * (h // 2) * (w // 2), c, 2, 2)
        )
        windows = windows - windows.mean((2, 3), keepdim=True)
        back = windows.reshape(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return back.reshape(b, c, h, w) * (c**-0.5)


class Branches(nn.Module):
    """Two resolutions side by side, so that two tensors are alive at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 3, 1, 1) for i in range(3))
        self.coarse = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 4, 3, 2 if i == 0 else 1, 1) for i in range(3))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.fine[0](x), self.coarse[0](x)
        for i in (1, 2):
            down = F.avg_pool2d(fine, 2)
            fine, coarse = self.fine[i](fine), self.coarse[i](torch.cat([coarse, down], 1))
        return self.fc(torch.cat([fine.mean((2, 3)), coarse.mean((2, 3))], 1))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.head, self.head_dist = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.body(x).mean((2, 3))
        return (self.head(pooled) + self.head_dist(pooled)) / 2


class Squeeze(nn.Module):
    """The classifier is a 1×1 convolution, pooled afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(6, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.fc(self.blocks(x)[:, 0])


class Dense(nn.Module):
    """Every layer reads all that came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.layers = nn.ModuleList(nn.Conv2d(4 + 2 * i, 2, 3, 1, 1) for i in range(3))
        self.transition = nn.Conv2d(10, 6, 1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for layer in self.layers:
            found.append(F.relu(layer(torch.cat(found, 1))))
        return self.fc(self.transition(torch.cat(found, 1)).mean((2, 3)))


class Repeated(nn.Module):
    """One pooling and one activation, used after every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 3, 1, 1) for i in range(3))
        self.act, self.pool, self.fc = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.pool(self.act(conv(x)))
        return self.fc(x.mean((2, 3)))


class TwoColumns(nn.Module):
    """Two networks side by side to the end, and a weighted sum of their logits."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 3, 2, 1) for i in range(3))
        self.right = nn.ModuleList(nn.Conv2d(3 if i == 0 else 6, 6, 3, 2, 1) for i in range(3))
        self.heads = nn.ModuleList([nn.Linear(4, 5), nn.Linear(6, 5)])
        self.weights = nn.Parameter(torch.tensor([0.3, 0.7]))

    def forward(self, x: Tensor) -> Tensor:
        a = b = x
        for left, right in zip(self.left, self.right, strict=True):
            a, b = F.relu(left(a)), F.relu(right(b))
        weights = self.weights.softmax(0)
        pooled = a.mean((2, 3)), b.mean((2, 3))
        return weights[0] * self.heads[0](pooled[0]) + weights[1] * self.heads[1](pooled[1])


class SideBySide(nn.Module):
    """Convolutions in a list, each for a part of the channels, within a block; all features are needed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, 1, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.cat([self.convs[0](x[:, :2]), self.convs[1](x[:, 2:])], 1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": lambda: Net([Residual(4), Residual(4, 2), Residual(4)]),
    "windows": lambda: Net([Residual(4), Windows(), Residual(4)]),
    "branches": Branches,
    "two_heads": TwoHeads,
    "squeeze": Squeeze,
    "tokens": Tokens,
    "dense": Dense,
    "repeated": Repeated,
    "two_columns": TwoColumns,
    "side_by_side": lambda: Net([Residual(4), SideBySide()]),
}


def cut(network: nn.Module, wanted: tuple[str, ...] = ()) -> Backbone:
    return cut_network(network, "mine", SHAPE, wanted)


def chained(backbone: Backbone, images: Tensor) -> Tensor:
    features: Features = {"image": images}
    for block in backbone.blocks:
        features = block(features)
    assert backbone.own_head is not None
    return backbone.own_head.module(features)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 3, 4])
@torch.no_grad()
def test_chained_blocks_equal_the_network_at_any_batch_size(name: str, batch: int) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    images = torch.randn(batch, *SHAPE)
    expected = network(images)
    assert torch.equal(chained(cut(network), images), expected)


@settings(max_examples=25, deadline=None)
@given(strides=st.lists(st.sampled_from([1, 2]), min_size=2, max_size=5), seed=st.integers(0, 100))
def test_any_row_of_blocks_can_be_cut_after_each(strides: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    network = Net([Residual(4, stride) for stride in strides]).eval()
    backbone = cut(network)
    inner = [f"blocks.{i}" for i in range(len(strides) - 1)]  # the end of the last block is followed by pooling alone
    assert [name for name in backbone.block_names if name.startswith("blocks.")] == inner
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(chained(backbone, images), network(images))


def test_cuts_are_named_by_modules_and_lie_where_one_tensor_is_alive() -> None:
    backbone = cut(NETWORKS["residual"]())
    assert backbone.block_names == ("relu", "blocks.0", "blocks.1", "mean")
    assert all(block.outputs == ("features",) for block in backbone.blocks)
    assert [backbone.taps[name].shape for name in backbone.block_names] == [(4, 16, 16), (4, 16, 16), (4, 8, 8), (4,)]
    assert [backbone.taps[name].reductions for name in backbone.block_names] == [1, 1, 0, 0]
    assert backbone.end == "mean"
    assert backbone.own_head is not None
    assert (backbone.own_head.layers, backbone.own_head.classes, backbone.own_head.width) == (["fc"], 5, 4)


def test_a_cut_that_a_recipe_names_may_pass_several_tensors() -> None:
    network = NETWORKS["residual"]()
    backbone = cut(network, ("blocks.0.bn",))
    (place,) = [i for i, name in enumerate(backbone.block_names) if name == "blocks.0.bn"]
    assert len(backbone.blocks[place].outputs) == 2
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(chained(backbone.eval(), images), network.eval()(images))


def test_a_module_that_is_used_again_ends_another_place_each_time() -> None:
    assert cut(Repeated()).block_names == ("pool", "pool_1", "mean")


def test_layers_side_by_side_within_a_block_are_no_cut_points_of_their_own() -> None:
    # Half of the layers are in one block, so places with several tensors count.
    assert cut(Net([Residual(4), SideBySide()])).block_names == ("relu", "blocks.0", "mean")


class ClassifiesPlaces(nn.Module):
    """Its classifier reads every place of a channels-last map; the mean comes after it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.fc = nn.Conv2d(3, 6, 3, 4, 1), Residual(6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(self.stem(x)).permute(0, 2, 3, 1)).mean((1, 2))


@pytest.mark.parametrize("network", [ClassifiesPlaces, Tokens, Repeated])
def test_the_features_of_the_own_classifier_are_averaged_over_places(network: Callable[[], nn.Module]) -> None:
    backbone = cut(network())
    model = MultiExitModel(backbone, [backbone.end], lambda tap: linear(tap, 5), own_last=True).eval()
    pooled = model.outputs(torch.randn(2, *SHAPE)).pooled
    assert [feature.shape for feature in pooled] == [(2, width) for width in model.pooled_widths]


def test_where_most_of_a_network_has_several_tensors_they_pass_its_cuts_and_reach_its_classifiers() -> None:
    backbone = cut(TwoColumns())
    assert max(len(block.outputs) for block in backbone.blocks) == 2
    assert len(backbone.blocks[-1].outputs) == 2
    assert len(backbone.block_names) >= 3
    own = backbone.own_head
    assert own is not None
    assert own.layers == ["heads.0", "heads.1"]
    replace_classifier(own, 9)
    assert chained(backbone.eval(), torch.randn(2, *SHAPE)).shape == (2, 9)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_network_can_be_cut_after_any_of_its_modules_that_a_recipe_names(data: st.DataObject) -> None:
    torch.manual_seed(0)
    network = Net([Residual(4), Residual(4, 2), Residual(4)]).eval()
    inner = [f"blocks.{i}.{layer}" for i in range(3) for layer in ("conv", "bn")]
    wanted = data.draw(st.lists(st.sampled_from(inner), unique=True))
    backbone = cut(network, tuple(wanted))
    assert {backbone.block_index(name) for name in wanted} <= set(range(len(backbone.blocks)))
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(chained(backbone, images), network(images))


def test_where_no_place_has_one_tensor_several_pass_every_cut() -> None:
    backbone = cut(Branches())
    assert any(len(block.outputs) > 1 for block in backbone.blocks)


def test_training_reaches_functional_dropout_and_batch_norm() -> None:
    class Dropping(Net):
        def forward(self, x: Tensor) -> Tensor:
            pooled = self.blocks(self.stem(x)).mean((2, 3))
            return self.fc(F.dropout(pooled, 0.5, training=self.training))

    torch.manual_seed(0)
    backbone = cut(Dropping([Residual(4)]))
    images = torch.randn(4, *SHAPE)
    backbone.eval()
    assert backbone.own_head is not None
    own = backbone.own_head.module
    assert torch.equal(chained(backbone, images), chained(backbone, images))
    own.train()
    backbone.train()
    assert not torch.equal(chained(backbone, images), chained(backbone, images))


def test_heads_read_what_the_next_stage_does_not_change_in_place() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(
                *(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 1, 1)) for _ in range(3))
            )
            self.stem, self.fc = nn.Conv2d(3, 4, 3, 1, 1), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.blocks(self.stem(x)).mean((2, 3)))

    backbone = cut(InPlace(), ("stem", "blocks.0", "blocks.1"))
    features: Features = {"image": torch.randn(2, *SHAPE)}
    for block in backbone.blocks:
        before = {name: tensor.clone() for name, tensor in features.items()}
        following = block(features)
        assert all(torch.equal(features[name], tensor) for name, tensor in before.items())
        features = following


@pytest.mark.parametrize("name", ["residual", "two_heads", "squeeze"])
def test_another_number_of_classes_replaces_the_last_layers_alone(name: str) -> None:
    network = NETWORKS[name]()
    before = {path: value.clone() for path, value in network.state_dict().items()}
    backbone = cut(network)
    own = backbone.own_head
    assert own is not None
    replace_classifier(own, 9)
    assert own.replaced
    assert chained(backbone.eval(), torch.randn(2, *SHAPE)).shape == (2, 9)
    assert all(torch.equal(value, before[path]) for path, value in network.state_dict().items())


def test_the_same_number_of_classes_replaces_nothing() -> None:
    backbone = cut(NETWORKS["residual"]())
    assert backbone.own_head is not None
    layer = backbone.own_head.module.get_submodule("graph.fc")
    replace_classifier(backbone.own_head, 5)
    assert backbone.own_head.module.get_submodule("graph.fc") is layer
    assert not backbone.own_head.replaced


class Branching(Net):
    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:
            x = -x
        return super().forward(x)


class Pair(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        logits = super().forward(x)
        return logits, logits


class NoClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(self.conv(x).mean((2, 3)), (4,), torch.ones(4))


class Narrow(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.max_pool2d(x, 32))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Branching, ["cannot be traced at test_cutting.py:", "`if x.mean() > 0:`", "fx_leaf = True"]),
        (Pair, ["one tensor of logits"]),
        (Narrow, ["cannot take images of 16×16", "data.image_size"]),
    ],
)
def test_what_cannot_be_cut_is_one_line(network: type[Net], words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        cut(network([Residual(4)]))
    assert "\n" not in str(raised.value)
    for word in ("mine", *words):
        assert word in str(raised.value)


class Nowhere(Net):
    """Its map has no places left, so its features are all zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x))[:, :, :0].sum((2, 3)))


def test_no_exit_is_at_a_map_without_places() -> None:
    assert "getitem" not in cut(Nowhere([Residual(4)])).block_names


def test_a_network_without_a_classifier_is_one_line() -> None:
    with pytest.raises(UsageError, match="no classifier was found") as raised:
        cut(NoClassifier())
    assert "\n" not in str(raised.value)


def test_a_module_can_ask_not_to_be_traced() -> None:
    class Leaf(nn.Module):
        fx_leaf = True

        def forward(self, x: Tensor) -> Tensor:
            return -x if x.mean() > 0 else x

    network = Net([Residual(4), Leaf(), Residual(4)]).eval()
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        assert torch.equal(chained(cut(network).eval(), images), network(images))


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((40, 28, 28), "map"),
        ((7, 7, 7), "map"),
        ((56, 56, 96), "channels_last"),
        ((96, 8, 12), "map"),
        ((8, 12, 96), "channels_last"),
        ((197, 192), "tokens"),
        ((1280,), "vector"),
    ],
)
def test_the_layout_is_found_by_the_shape(shape: tuple[int, ...], layout: str) -> None:
    assert layout_of(shape) == layout


class Video(Net):
    """Its second block returns five dimensions."""

    def __init__(self) -> None:
        super().__init__([Residual(4), nn.Unflatten(1, (2, 2)), nn.Flatten(1, 2), Residual(4)])


@pytest.mark.parametrize(
    ("network", "wish", "why"),
    [(TwoHeads, "head", "it is part of the classifier"), (Video, "blocks.1", "its output is not one tensor")],
)
def test_a_module_at_whose_end_no_exit_can_stand_is_one_line(
    network: Callable[[], nn.Module], wish: str, why: str
) -> None:
    with pytest.raises(UsageError, match=f"no exit can stand at {wish}: {why}") as raised:
        cut(network(), (wish,))
    assert "\n" not in str(raised.value)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(4, 32), st.integers(0, 5))
def test_the_grid_of_patches_follows_from_the_image_and_the_tokens(
    height: int, width: int, patch: int, further: int
) -> None:
    finer = min((height * patch // side) * (width * patch // side) for side in range(1, patch))
    assume(finer > height * width + further)
    assert token_grid(height * width + further, (height * patch, width * patch)) == (height, width)


def test_tokens_of_overlapping_patches_are_the_grid_of_the_map_that_they_were() -> None:
    """PiT's patches of 16 every 8 pixels are 27×27; no square patches divide 224 pixels so."""
    taps = cut_network(timm.create_model("pit_ti_224", num_classes=5), "pit", (3, 224, 224)).taps
    grids = {tap.grid for tap in taps.values() if tap.layout == "tokens"}
    assert grids == {(27, 27), (14, 14), (7, 7)}


def test_a_transformer_knows_the_grid_of_an_image_that_is_not_square() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", img_size=(32, 96), num_classes=5)
    tap = cut_network(vit, "vit", (3, 32, 96)).taps["blocks.1"]
    assert tap.layout == "tokens"
    assert tap.shape == (2 * 6 + 1, 192)
    assert tap.grid == (2, 6)
