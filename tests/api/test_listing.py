from __future__ import annotations

import sys

import pytest

import edgemate
from edgemate.errors import UsageError
from edgemate.registry import BACKBONES


def test_edgemates_own_networks_need_no_pattern_and_libraries_are_counted() -> None:
    pytest.importorskip("timm")
    found = edgemate.list_models()
    assert list(found.names) == BACKBONES.names()
    assert list(found.libraries) == ["timm/", "torchvision/"]
    assert found.libraries["timm/"] == len(edgemate.list_models("timm/*").names) > 500
    assert found.libraries["torchvision/"] == len(edgemate.list_models("torchvision").names) > 50


@pytest.mark.parametrize(
    ("pattern", "among"),
    [
        ("vgg1?_bn", {"vgg11_bn", "vgg19_bn"}),
        ("torchvision/resnet*", {"torchvision/resnet18", "torchvision/resnet152"}),
        ("timm/tf_efficientnet_lite*", {"timm/tf_efficientnet_lite0"}),
        ("timm/resnet18.*", {"timm/resnet18.a1_in1k"}),
        ("*/resnet18", {"timm/resnet18", "torchvision/resnet18"}),
        ("*mobilenet_v3_small", {"mobilenet_v3_small", "torchvision/mobilenet_v3_small"}),
    ],
)
def test_names_match_the_pattern_and_can_be_used(pattern: str, among: set[str]) -> None:
    pytest.importorskip("timm")
    names = edgemate.list_models(pattern).names
    assert among <= set(names)
    assert all(name in BACKBONES for name in names)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("densenet12*", "try timm/densenet12* or torchvision/densenet12*"),
        ("torchvision/resnet19", "the closest names are torchvision/resnet1"),
        ("timm/mobilenetv3_smal", "the closest names are timm/mobilenetv3_small"),
        ("resnet9", "the closest names are "),
    ],
)
def test_no_match_names_what_would(pattern: str, said: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UsageError) as error:
        edgemate.list_models(pattern)
    assert f"no network matches {pattern!r}; {said}" in str(error.value)


def test_a_library_that_is_missing_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert edgemate.list_models().libraries["timm/"] is None
    with pytest.raises(UsageError, match="pip install timm"):
        edgemate.list_models("timm/*")
