"""Heads on features of every layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgemate.config import Exits
from edgemate.errors import UsageError
from edgemate.models import Head, Tap
from edgemate.models.building import build_head
from edgemate.models.heads.linear import linear

N, WIDTH, SIDE, CLASSES = 3, 6, 4, 5
SHAPES = {
    "map": (WIDTH, SIDE, SIDE),
    "channels_last": (SIDE, SIDE, WIDTH),
    "tokens": (SIDE * SIDE, WIDTH),
    "tokens with a class token": (SIDE * SIDE + 1, WIDTH),
    "tokens with a class token and registers": (SIDE * SIDE + 5, WIDTH),
    "vector": (WIDTH,),
}
HEADS = ["linear", "conv", "bottleneck", "separable"]


def tap(layout: str, reductions: int = 1) -> Tap:
    kind = layout.split()[0]
    return Tap(WIDTH, 8, 0 if kind == "vector" else reductions, kind, SHAPES[layout])  # type: ignore[arg-type]


def head(name: str, layout: str, reductions: int = 1) -> Head:
    torch.manual_seed(0)
    return build_head(Exits(head=name), tap(layout, reductions), CLASSES).eval()


def features() -> Tensor:
    return torch.randn(N, WIDTH, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def laid_out(layout: str, of_map: Tensor) -> Tensor:
    """The same features in another layout; further tokens are far from them."""
    if layout == "map":
        return of_map
    if layout == "channels_last":
        return of_map.permute(0, 2, 3, 1)
    if layout == "vector":
        return of_map.mean((2, 3))
    tokens = of_map.flatten(2).transpose(1, 2)
    return torch.cat([torch.full((N, SHAPES[layout][0] - tokens.shape[1], WIDTH), 100.0), tokens], 1)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("layout", SHAPES)
def test_every_head_reads_every_layout(name: str, layout: str) -> None:
    made = head(name, layout)
    logits, pooled = made({"features": laid_out(layout, features())})
    assert logits.shape == (N, CLASSES)
    assert pooled.shape == (N, made.width)


@pytest.mark.parametrize("name", ["conv", "bottleneck", "separable"])
@pytest.mark.parametrize("layout", [layout for layout in SHAPES if layout not in ("map", "vector")])
def test_a_trunk_sees_the_same_map_in_every_layout(name: str, layout: str) -> None:
    with torch.no_grad():
        expected = head(name, "map")({"features": features()})[0]
        found = head(name, layout)({"features": laid_out(layout, features())})[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["tokens with a class token", "tokens with a class token and registers"])
def test_tokens_that_are_no_patches_are_left_out_of_the_mean(layout: str) -> None:
    with torch.no_grad():
        _, pooled = head("linear", layout)({"features": laid_out(layout, features())})
    torch.testing.assert_close(pooled, torch.nn.functional.layer_norm(features().mean((2, 3)), (WIDTH,)))


def test_the_class_token_can_be_read_alone() -> None:
    layout = "tokens with a class token"
    made = linear(tap(layout), CLASSES, pool="class_token").eval()
    tokens = laid_out(layout, features())
    tokens[:, 0] = torch.arange(WIDTH)
    expected = made({"features": tokens})[0]
    tokens[:, 1:] = 7.0
    assert torch.equal(made({"features": tokens})[0], expected)
    tokens[:, 0] = tokens[:, 0].flip(1)
    assert not torch.equal(made({"features": tokens})[0], expected)


@pytest.mark.parametrize("layout", ["map", "channels_last", "tokens"])
def test_where_there_is_no_class_token_it_cannot_be_read(layout: str) -> None:
    with pytest.raises(UsageError, match=r"no class token .*use pool: mean"):
        linear(tap(layout), CLASSES, pool="class_token")


def test_only_the_features_of_transformers_are_normalized_after_the_pooling() -> None:
    normalized = {layout: isinstance(head("linear", layout).norm, torch.nn.LayerNorm) for layout in SHAPES}
    assert normalized == {layout: layout.startswith(("tokens", "channels_last")) for layout in SHAPES}


@pytest.mark.parametrize("further", [0, 1, 5])
def test_tokens_of_an_image_that_is_not_square_are_read_as_its_map(further: int) -> None:
    made = torch.randn(N, WIDTH, 2, 8, generator=torch.Generator().manual_seed(1))
    tokens = torch.cat([torch.full((N, further, WIDTH), 100.0), made.flatten(2).transpose(1, 2)], 1)
    laid = Tap(WIDTH, 8, 1, "tokens", (16 + further, WIDTH), grid=(2, 8))
    torch.manual_seed(0)
    reading = build_head(Exits(head="separable"), laid, CLASSES).eval()
    with torch.no_grad():
        expected = head("separable", "map")({"features": made})[0]
        torch.testing.assert_close(reading({"features": tokens})[0], expected, rtol=0, atol=1e-5)
