from __future__ import annotations

import ctypes.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from edgemate.config import Exits, Model, Recipe, Training
from edgemate.distillation import Method, build_method
from edgemate.distillation.building import setting_of
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.errors import RunError
from edgemate.models import MultiExitModel, build_model
from edgemate.training import numerics, train
from edgemate.training.numerics import (
    Numerics,
    choose_numerics,
    has_native_bf16,
    prepare_teachers,
    resumed_numerics,
    unsafe_in_channels_last,
)
from recipes import small_recipe

SHAPE = (1, 8, 8)


def built(recipe: Recipe, channels: int = 1) -> tuple[MultiExitModel, Method]:
    model = build_model(recipe.model, recipe.exits, channels, 10)
    return model, build_method(recipe.distillation, setting_of(recipe, model, 10))


def chosen(*overrides: str, **training: object) -> Numerics:
    recipe = small_recipe("training.precision=auto", *overrides)
    return choose_numerics(recipe.training.model_copy(update=training), *built(recipe), SHAPE)


def processor(monkeypatch: pytest.MonkeyPatch, *, bf16: bool) -> None:
    monkeypatch.setattr(numerics, "has_native_bf16", lambda: bf16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def gpu(monkeypatch: pytest.MonkeyPatch, *, bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, precision: str
) -> None:
    processor(monkeypatch, bf16=bf16)
    assert chosen().precision == precision
    assert chosen().warning is None


@pytest.mark.parametrize(
    ("backbone", "head", "precision"),
    [("mobilenet_v2", "linear", "fp32"), ("resnet8", "separable", "bf16"), ("mobilenet_v3_small", "conv", "fp32")],
)
def test_auto_takes_fp32_for_depthwise_networks(
    monkeypatch: pytest.MonkeyPatch, backbone: str, head: str, precision: str
) -> None:
    processor(monkeypatch, bf16=True)
    model = build_model(Model(backbone=backbone), Exits(head=head), 3, 10)
    recipe = small_recipe()
    method = build_method(recipe.distillation, setting_of(recipe, model, 10))
    assert choose_numerics(Training(), model, method, (3, 64, 64)).precision == precision


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu_takes_bf16_only_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, precision: str
) -> None:
    gpu(monkeypatch, bf16=bf16)
    assert chosen().precision == precision
    assert chosen().channels_last
    processor(monkeypatch, bf16=False)
    assert chosen(accelerator="cpu").precision == "fp32"


def test_auto_never_takes_fp16_for_a_method_that_steps_its_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, bf16=False)
    model, method = built(small_recipe())
    monkeypatch.setattr(method, "optimizers", lambda: [object()])
    assert choose_numerics(Training(), model, method, SHAPE).precision == "fp32"


def test_bf16_that_is_asked_for_is_done_and_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, bf16=False)
    found = chosen(precision="bf16")
    assert found.precision == "bf16"
    assert found.warning is not None
    assert "5 to 30 times slower" in found.warning
    processor(monkeypatch, bf16=True)
    assert chosen(precision="bf16").warning is None


@pytest.mark.parametrize("isa", ["AVX2", "avx512_core"])
def test_bf16_is_not_native_where_onednn_must_not_use_it(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    assert not has_native_bf16()


@given(st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.sampled_from([0, 1]), st.booleans())
def test_unsafe_are_strided_pointwise_convolutions_over_few_channels(
    channels: int, kernel: int, stride: int, padding: int, depthwise: bool
) -> None:
    groups = channels if depthwise else 1
    layer = nn.Conv2d(channels, channels, kernel, stride, padding, groups=groups)
    expected = kernel == 1 and stride == 2 and 1 < channels < 16 and groups == 1
    assert bool(unsafe_in_channels_last(nn.Sequential(layer))) == expected
    layer.requires_grad_(False)
    assert not unsafe_in_channels_last(nn.Sequential(layer))


def test_a_functional_convolution_is_seen_too() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(4, 3, 1, 1))

        def forward(self, images: Tensor) -> Tensor:
            return functional.conv2d(images, self.kernel, stride=2)

    assert unsafe_in_channels_last(Functional(), (3, 8, 8)) == ["conv2d"]
    assert not unsafe_in_channels_last(Functional())


@pytest.mark.parametrize("asked", [True, "auto"])
def test_an_unsafe_network_is_laid_out_contiguously_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, asked: bool | str
) -> None:
    processor(monkeypatch, bf16=True)
    found = chosen(channels_last=asked)  # resnet8 of width 4
    assert not found.channels_last
    assert "6035" in str(found.warning) if asked is True else found.warning is None
    assert chosen("model.options.width=16", channels_last=asked).channels_last


def test_the_choice_is_printed_and_kept(tmp_path: Path) -> None:
    told = io.StringIO()
    run = train(
        small_recipe("optimization.epochs=1", "training.precision=auto"),
        tmp_path / "run",
        console=Console(file=told, width=200),
    )
    kept = run.read_numerics()
    assert kept["precision"] == ("bf16" if has_native_bf16() else "fp32")
    printed = told.getvalue()
    assert printed.index(f"precision  {kept['precision']} (") < printed.index("epoch 1/1")


def test_a_run_resumes_as_it_was_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, bf16=False)
    recipe = small_recipe("model.options.width=16")
    parts = (recipe.training, *built(recipe), SHAPE)
    begun = {"precision": "bf16", "channels_last": True}
    found = resumed_numerics(begun, *parts)
    assert (found.precision, found.channels_last) == ("bf16", True)
    assert "slower" in str(found.warning)
    with pytest.raises(RunError, match="begun in fp16, which needs a GPU"):
        resumed_numerics({"precision": "fp16", "channels_last": False}, *parts)
    for damaged in ({}, {"precision": "fp8", "channels_last": True}, {"precision": "bf16", "channels_last": 1}):
        with pytest.raises(RunError, match="not as training wrote it"):
            resumed_numerics(damaged, *parts)


def test_a_run_from_a_gpu_does_not_go_on_unsafely(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, bf16=True)
    recipe = small_recipe()
    found = resumed_numerics({"precision": "bf16", "channels_last": True}, recipe.training, *built(recipe), SHAPE)
    assert not found.channels_last
    assert "corrupts memory" in str(found.warning)


def test_teachers_compute_as_the_run_does() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3))
    network.width = 8  # type: ignore[assignment]
    teacher = Teacher(network)  # type: ignore[arg-type]
    prepare_teachers(nn.ModuleList([teacher]), Numerics("bf16", True, "", ""))
    assert teacher.autocast == torch.bfloat16
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]


TRAIN_SMALL = """
import io, sys
from pathlib import Path
from rich.console import Console
from edgemate.training import train
from recipes import small_recipe
recipe = small_recipe("optimization.epochs=2", "training.precision=auto", *sys.argv[2:])
train(recipe, Path(sys.argv[1]), console=Console(file=io.StringIO()))
"""


@pytest.mark.skipif(ctypes.util.find_library("c") is None, reason="needs glibc's checks of the heap")
@pytest.mark.parametrize("override", ["data.cache=none", "data.cache=device"])
def test_training_leaves_the_heap_whole_on_avx2(tmp_path: Path, override: str) -> None:
    """resnet8 of width 4 laid out as NHWC aborts here within an epoch."""
    environment = os.environ | {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-c", TRAIN_SMALL, str(tmp_path / "run"), override]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    kept = json.loads((tmp_path / "run" / "numerics.json").read_text())
    assert (kept["precision"], kept["channels_last"]) == ("fp32", False)
