"""In which precision and memory format a run trains: what the recipe asks for, or what suits the machine.

`auto` is decided by what torch reports for the processor and the GPU, never by their names:

- **precision** on a CPU: bf16 where the processor multiplies it (AVX512-BF16 or AMX) and oneDNN may use that, else
  fp32, since emulated bf16 is 5 to 30 times slower. Networks whose spatial convolutions are mostly depthwise take fp32
  in any case: bf16 is slower for these. On a GPU: bf16 where it is native, else fp16.
- **channels_last** on a CPU: wherever it is safe. On a GPU: always, as the vendor's libraries want it.

The statements on CPUs were measured by `benchmarks/numerics.py`.

Safe means that no layer meets oneDNN's issue 6035: the gradient of the weights of a strided 1×1 convolution over few
channels is computed in a workspace that is too small when the images are in NHWC layout, which corrupts the heap.
With 8 channels per block (AVX2) it was reproduced for 2 to 7 input channels at every size tried, with 16 (AVX-512) for
2 to 15 at maps of 64×64 and more, and for none above. `unsafe_in_channels_last` finds such layers. They never train so
on a CPU, whatever the recipe asks for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgemate.config import Training
from edgemate.distillation import Method
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.errors import RunError

Precision = Literal["fp32", "bf16", "fp16"]
# The widest block of channels that oneDNN's x64 kernels use; a narrower convolution may overrun its workspace.
_CHANNELS_PER_BLOCK = 16
# Values of ONEDNN_MAX_CPU_ISA under which bf16 is emulated even on a processor that has it.
_NO_BF16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"})
AUTOCAST: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precision → the type that autocast computes in; None where it is off."""


@dataclass(frozen=True)
class Numerics:
    """What a run computes in, and why.

    Attributes:
        precision: of the network's training steps; anything but fp32 is mixed precision.
        channels_last: images and weights are NHWC in memory.
        precision_reason: why that precision, in a few words.
        layout_reason: why that memory format.
        warning: one line that the user must see, or None.
    """

    precision: Precision
    channels_last: bool
    precision_reason: str
    layout_reason: str
    warning: str | None = None

    @property
    def layout(self) -> str:
        """torch's name of the memory format."""
        return "channels_last" if self.channels_last else "contiguous"

    def __str__(self) -> str:
        """One line, or two with the warning."""
        line = f"precision {self.precision} ({self.precision_reason}), {self.layout} ({self.layout_reason})"
        return line if self.warning is None else f"{line}\nwarning: {self.warning}"

    def to_json(self) -> dict[str, Any]:
        """As the run keeps it, without the warning."""
        kept = asdict(self)
        del kept["warning"]
        return kept


def choose_numerics(training: Training, model: nn.Module, method: Method, shape: tuple[int, int, int]) -> Numerics:
    """What a recipe's `training` section comes to for a network on this machine.

    Args:
        training: `precision` and `channels_last` may be `auto`.
        model: the network that is trained.
        method: its objective; one that steps an optimizer of its own cannot be scaled as fp16 needs.
        shape: (C, H, W) of one image.
    """
    on_gpu = trains_on_gpu(training)
    if training.precision != "auto":
        precision, why = training.precision, "asked for"
    elif on_gpu:
        precision, why = _gpu_precision(method)
    else:
        precision, why = _cpu_precision(model)
    channels_last, layout_why, unsafe = _layout(training.channels_last, model, method, shape, on_gpu)
    return Numerics(precision, channels_last, why, layout_why, _emulated(precision, on_gpu) or unsafe)


def resumed_numerics(
    stored: Mapping[str, Any], training: Training, model: nn.Module, method: Method, shape: tuple[int, int, int]
) -> Numerics:
    """What a run began with, for the machine that resumes it.

    Args:
        stored: as `Numerics.to_json` wrote it.
        training: the same as for `choose_numerics`, as are the next three.

    Raises:
        RunError: it is not in that form, or asks for what this machine does not have.
    """
    precision, channels_last = stored.get("precision"), stored.get("channels_last")
    if precision not in AUTOCAST or not isinstance(channels_last, bool):
        raise RunError(f"precision {precision!r}, channels_last {channels_last!r}: not as training wrote it")
    on_gpu = trains_on_gpu(training)
    if precision == "fp16" and not on_gpu:
        raise RunError("the run was begun in fp16, which needs a GPU, and there is none here; resume it where there is")
    safe, why, warning = _layout(channels_last, model, method, shape, on_gpu)
    as_begun = "as the run was begun"
    return Numerics(
        precision,
        safe,
        as_begun,
        as_begun if safe == channels_last else why,
        _emulated(precision, on_gpu) or warning,
    )


def prepare_teachers(method: nn.Module, numerics: Numerics) -> None:
    """Let the networks that a method learns from compute in the run's precision and memory format."""
    for module in method.modules():
        if isinstance(module, Teacher):
            module.autocast = AUTOCAST[numerics.precision]
            if numerics.channels_last:
                module.network.to(memory_format=torch.channels_last)


def trains_on_gpu(training: Training) -> bool:
    """Whether a run with this section trains on a GPU here."""
    return training.accelerator != "cpu" and torch.cuda.is_available()


def has_native_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices itself, and oneDNN is not told to leave that unused."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper() in _NO_BF16:
        return False
    # The second is False too where oneDNN is left out of torch, or too old for the processor.
    return any(_torch_reports(name) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")) and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def cpu_features() -> str:
    """The vector instructions that torch uses here, and whether bf16 is native, for a table or a log."""
    return f"{torch.backends.cpu.get_cpu_capability()}, bf16 {'native' if has_native_bf16() else 'emulated'}"


def unsafe_in_channels_last(model: nn.Module, shape: tuple[int, int, int] | None = None) -> list[str]:
    """Layers that may corrupt the heap when they train on a CPU with images laid out as NHWC (see above).

    Args:
        model: any module. Its convolutions are looked at one by one.
        shape: (C, H, W) of one image, to run the network once besides and to see convolutions that are no modules.

    Returns:
        Their names; `conv2d` for a convolution that a forward calls as a function.
    """
    named = [
        name or type(layer).__name__
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
        and layer.weight.requires_grad
        and _is_unsafe(layer.weight.shape, layer.stride, layer.groups)
    ]
    if shape is not None and not named and any(map(_is_unsafe_call, _convolutions(model, shape))):
        named.append("conv2d")
    return named


def _torch_reports(name: str) -> bool:
    # A private name of torch's, absent from some versions: without it the feature counts as missing.
    ask: Callable[[], bool] = getattr(torch.cpu, name, lambda: False)
    return bool(ask())


def _cpu_precision(model: nn.Module) -> tuple[Precision, str]:
    if not has_native_bf16():
        return "fp32", "this processor has no bf16"
    if _is_mostly_depthwise(model):
        return "fp32", "depthwise convolutions are slower in bf16"
    return "bf16", "this processor has bf16"


def _gpu_precision(method: Method) -> tuple[Precision, str]:
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "this GPU has bf16"
    if method.optimizers():
        return "fp32", "this GPU has no bf16, and the method steps its teacher without fp16's scaling"
    return "fp16", "this GPU has no bf16"


def _emulated(precision: Precision, on_gpu: bool) -> str | None:
    if precision != "bf16" or on_gpu or has_native_bf16():
        return None
    return (
        "training.precision: this processor has no bf16, which is emulated, 5 to 30 times slower than fp32; "
        "auto or fp32 is faster"
    )


def _layout(
    asked: bool | Literal["auto"],
    model: nn.Module,
    method: Method,
    shape: tuple[int, int, int],
    on_gpu: bool,
) -> tuple[bool, str, str | None]:
    """Whether channels_last, why, and a warning where the recipe asks for what is not safe."""
    if asked is False:
        return False, "asked for", None
    if on_gpu:
        return True, "asked for" if asked is True else "usual on a GPU", None
    unsafe = [*unsafe_in_channels_last(model, shape), *unsafe_in_channels_last(method)]
    if unsafe:
        some = ", ".join(unsafe[:3]) + (f" and {len(unsafe) - 3} more" if len(unsafe) > 3 else "")
        why = f"{some}: strided 1×1 over fewer than {_CHANNELS_PER_BLOCK} channels"
        warning = f"training.channels_last: not used on this CPU, where it corrupts memory (oneDNN issue 6035; {why})"
        return False, f"unsafe here ({why})", warning if asked is True else None
    return True, "asked for" if asked is True else "faster", None


def _is_mostly_depthwise(model: nn.Module) -> bool:
    """Whether more than half of the convolutions over more than one pixel are depthwise."""
    spatial = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1]
    return 2 * sum(layer.groups == layer.in_channels > 1 for layer in spatial) > len(spatial)


def _is_unsafe(weight: torch.Size, stride: Any, groups: int) -> bool:
    strides = (stride,) if isinstance(stride, int) else tuple(stride)
    return groups == 1 and tuple(weight[2:]) == (1, 1) and max(strides) > 1 and 1 < weight[1] < _CHANNELS_PER_BLOCK


def _is_unsafe_call(call: tuple[torch.Size, Any, int]) -> bool:
    return _is_unsafe(*call)


def _convolutions(model: nn.Module, shape: tuple[int, int, int]) -> Iterator[tuple[torch.Size, Any, int]]:
    """Weight's shape, stride and groups of every conv2d that one image goes through."""
    calls: list[tuple[torch.Size, Any, int]] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = dict(
                zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, strict=False)
            )
            given |= kwargs or {}
            if func is torch.conv2d and isinstance(given.get("weight"), Tensor):
                calls.append((given["weight"].shape, given.get("stride", 1), given.get("groups", 1)))
            return func(*args, **(kwargs or {}))

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), Watch():
            model(torch.zeros(1, *shape))
    finally:
        model.train(was_training)
    yield from calls
