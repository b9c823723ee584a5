from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgemate.errors import UsageError
from edgemate.models.weights.files import load_weights, read_weights


def network(classes: int = 4, width: int = 3) -> nn.Module:
    parts = {"stem": nn.Conv2d(3, width, 1), "bn": nn.BatchNorm2d(width), "fc": nn.Linear(width, classes)}
    return nn.Sequential(OrderedDict(parts))


def weights(classes: int = 4, width: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return network(classes, width).state_dict()


def equal(one: nn.Module, given: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, given[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "_orig_mod."])
def test_prefixes_are_stripped(prefix: str) -> None:
    loaded = network()
    assert load_weights(loaded, {prefix + name: t for name, t in weights().items()}, "w", ["fc"]) == []
    assert equal(loaded, weights())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "state_dict_ema"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_tensors_are_read(wrapper: str | None, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file({f"module.{name}": tensor for name, tensor in weights().items()}, path)
    else:
        torch.save(weights() if wrapper is None else {wrapper: weights(), "epoch": 3}, path)
    loaded = network()
    assert load_weights(loaded, read_weights(path), str(path), ["fc"]) == []
    assert equal(loaded, weights())


def test_a_classifier_of_another_size_is_left_out_and_said_so() -> None:
    loaded = network(classes=7)
    before = loaded.state_dict()["fc.weight"].clone()
    (note,) = load_weights(loaded, weights(classes=4), "w.pth", ["fc"])
    assert note == "w.pth: its classifier of 4 classes is left out; fc.bias, fc.weight is new"
    assert torch.equal(loaded.state_dict()["fc.weight"], before)
    assert torch.equal(loaded.state_dict()["stem.weight"], weights()["stem.weight"])


def test_a_file_without_a_classifier_fits_too() -> None:
    loaded = network()
    given = {name: tensor for name, tensor in weights().items() if not name.startswith("fc.")}
    (note,) = load_weights(loaded, given, "w", ["fc"])
    assert "is left out" in note


def test_batch_counters_may_be_missing() -> None:
    given = {name: tensor for name, tensor in weights().items() if not name.endswith("num_batches_tracked")}
    assert load_weights(network(), given, "w", ["fc"]) == []


def test_weights_of_another_network_name_the_first_keys_of_both() -> None:
    loaded = network()
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    with pytest.raises(UsageError, match="another network") as raised:
        load_weights(loaded, {"layers.0.weight": torch.ones(2), "layers.0.bias": torch.ones(2)}, "w.pth", ["fc"])
    text = str(raised.value)
    assert "\n" not in text
    assert "w.pth" in text
    assert "layers.0.weight, layers.0.bias" in text
    assert "stem.weight, stem.bias, bn.weight" in text
    assert equal(loaded, before)


def test_other_shapes_are_named() -> None:
    with pytest.raises(UsageError, match=r"stem\.weight has the shape \(5, 3, 1, 1\) instead of \(3, 3, 1, 1\)"):
        load_weights(network(), weights(width=5), "w", ["fc"])


class Anything:
    """An object that a file must not bring along."""


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (Anything(), "tensors only"),
        (network(), "save model.state_dict()"),
        ({"a": 1}, "no state dict"),
        ([torch.ones(1)], "no state dict"),
        ({}, "no state dict"),
    ],
)
def test_other_objects_are_refused_in_one_line(stored: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(stored, path)
    with pytest.raises(UsageError) as raised:
        read_weights(path)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_missing_and_damaged_files_are_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError, match="there is no file"):
        read_weights(path)
    path.write_bytes(b"not weights")
    with pytest.raises(UsageError, match="cannot be read as safetensors") as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)


def test_an_empty_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({}, path)
    with pytest.raises(UsageError, match="holds no state dict"):
        read_weights(path)
    with pytest.raises(UsageError, match="another network"):
        load_weights(network(), {}, str(path), ["fc"])


@pytest.mark.parametrize("content", [b"\x80\x02u.", b"\x80\x02]r\0.", b"\x8e\xfa\0\1\2\3"])
def test_whatever_torch_raises_for_a_damaged_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as safetensors or as a state dict") as raised:
        read_weights(path)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensor: tensor.to(torch.int8), "is of torch.int8, not of floats"),
        (lambda tensor: tensor.to(torch.complex64), "is of torch.complex64, not of floats"),
        (lambda tensor: tensor * float("nan"), "has values that are not finite"),
        (lambda tensor: tensor.to_sparse(), "has no plain values"),
        (lambda tensor: tensor.to("meta"), "has no plain values"),
    ],
)
def test_values_that_a_network_cannot_use_are_refused(change: Callable[[Tensor], Tensor], words: str) -> None:
    loaded = network()
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    with pytest.raises(UsageError, match=f"w cannot be used: stem.weight {words}"):
        load_weights(loaded, weights() | {"stem.weight": change(weights()["stem.weight"])}, "w", ["fc"])
    assert equal(loaded, before)


def test_half_precision_weights_are_loaded() -> None:
    loaded = network()
    given = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights().items()}
    assert load_weights(loaded, given, "w", ["fc"]) == []
    assert equal(loaded, {name: tensor.to(weights()[name].dtype) for name, tensor in given.items()})
