from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from edgemate.config import Exits, Model
from edgemate.errors import RecipeError, TrainingError
from edgemate.models import MultiExitModel, build_model
from edgemate.runs import Run, read_tensors
from edgemate.training import train
from edgemate.training.compiled_outputs import CompiledOutputs
from edgemate.training.cxx_compiler import missing_compiler
from recipes import small_recipe


def tiny_model() -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(Model(backbone="resnet8", options={"width": 2}), Exits(), channels=1, classes=3)


def as_it_is(exit: int, features: Any) -> Any:
    return features, features


def noted(monkeypatch: pytest.MonkeyPatch, fails: Exception | None = None) -> list[dict[str, Any]]:
    """Compile nothing; note how it was asked for, and the sizes of the batches that went that way."""
    asked: list[dict[str, Any]] = []

    def stand_in(function: Any, **options: Any) -> Any:
        asked.append({**options, "sizes": []})

        def call(images: torch.Tensor, at_cut: Any) -> Any:
            if fails:
                raise fails
            asked[-1]["sizes"].append(len(images))
            return function(images, at_cut)

        return call

    monkeypatch.setattr(torch, "compile", stand_in)
    return asked


def test_only_batches_of_the_first_ones_shape_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = noted(monkeypatch)
    outputs = CompiledOutputs(tiny_model())
    for size in (4, 4, 3, 4):
        assert len(outputs(torch.zeros(size, 1, 8, 8), as_it_is).logits) == size
    assert asked == [{"dynamic": False, "mode": "default", "sizes": [4, 4, 4]}]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch 2.11's own, on import
def test_cuda_graphs_are_asked_for_by_torchs_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = noted(monkeypatch)
    CompiledOutputs(tiny_model(), cuda_graphs=True)(torch.zeros(4, 1, 8, 8), as_it_is)
    assert asked == [{"dynamic": False, "mode": "reduce-overhead", "sizes": [4]}]


def test_training_goes_through_it_and_evaluation_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = noted(monkeypatch)
    recipe = small_recipe("optimization.epochs=1", "optimization.batch_size=200", "training.compile=true")
    compiled = train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    assert [kept["sizes"] for kept in asked] == [[200, 200]]  # of 512 images, but not the last 112
    plain = train(
        small_recipe("optimization.epochs=1", "optimization.batch_size=200"),
        tmp_path / "plain",
        console=Console(file=io.StringIO()),
    )
    assert_same_weights(compiled, plain)


def assert_same_weights(one: Run, other: Run) -> None:
    ours, theirs = read_tensors(one.model_path), read_tensors(other.model_path)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("cxx", [None, "no-such-compiler"])
def test_without_a_compiler_the_recipe_is_refused_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cxx: str | None
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", cxx) if cxx else monkeypatch.delenv("CXX", raising=False)
    named = cxx or r"(g\+\+|clang\+\+)"
    with pytest.raises(RecipeError, match=rf"training\.compile: it needs a C\+\+ compiler, and there is no {named}"):
        train(small_recipe("training.compile=true"), tmp_path / "run")


def test_a_network_that_cannot_be_compiled_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = torch._dynamo.exc.BackendCompilerFailed("inductor", RuntimeError("no Python.h"), None)
    noted(monkeypatch, failure)
    with pytest.raises(TrainingError, match=r"training\.compile: the network cannot be compiled here") as caught:
        CompiledOutputs(tiny_model())(torch.zeros(4, 1, 8, 8), as_it_is)
    assert "no Python.h" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler() is not None, reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_the_compiled_network_says_and_learns_what_the_network_does() -> None:
    plain, model = tiny_model(), tiny_model()
    compiled = CompiledOutputs(model)
    images = torch.randn(6, 1, 8, 8)
    for network, outputs in ((plain, plain.outputs), (model, compiled)):
        network.train()
        outputs(images, as_it_is).logits.square().sum().backward()
    torch.testing.assert_close(compiled(images, as_it_is).logits, plain.outputs(images, as_it_is).logits)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    assert model.state_dict().keys() == plain.state_dict().keys()
