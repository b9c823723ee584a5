"""Measure how fast images come and how fast they are trained on: the loader alone, the step alone, and both.

    python benchmarks/input_pipeline.py recipes/imagenette/efficientnet_lite0_frozen.yaml
    python benchmarks/input_pipeline.py recipes/small/cifar100_resnet8_mate.yaml

Per recipe, every `data.cache` and, for `none`, with a worker process too. Each kind takes its turn in every round, so
that other load on the machine affects all alike; the median over rounds is shown. The first batch of a turn is not
counted. `loader` takes batches and does nothing with them; `step` trains on one batch over and over, on the training
device; `both` trains on what the loader gives. Memory is the resident memory of the process at the start and at the
end of one whole pass of the loader, with ten values between.

With `--decoder FOLDER`, the JPEG files of a folder are decoded by Pillow and by torchvision in turn: seconds, and how
many images are equal bit for bit. edgemate uses Pillow's: torchvision's is deprecated since torchvision 0.29.
Where a recipe freezes the backbone, all of the network is trained here, since the step is what is measured.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgemate import files
from edgemate.config import load_recipe
from edgemate.distillation import build_method
from edgemate.distillation.building import setting_of
from edgemate.distillation.method import Batch, Progress
from edgemate.distributed.connection import device_of
from edgemate.distributed.world import ALONE
from edgemate.errors import EdgemateError
from edgemate.models import build_model
from edgemate.runs import environment_metadata
from edgemate.training.feeding import Feed, choose_place, make_feed
from edgemate.training.host_memory import freed_memory_kept
from edgemate.training.numerics import Numerics, choose_numerics
from edgemate.training.optimizers import make_optimizer
from edgemate.training.trainer import prepare_data

KINDS = {
    "none": ("data.cache=none",),
    "none, 1 worker": ("data.cache=none", "training.workers=1"),
    "ram": ("data.cache=ram",),
    "device": ("data.cache=device",),
}
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def main() -> None:
    options = _options()
    found: dict[str, Any] = {}
    for path in options.recipes:
        name = f"{path.parent.name}/{path.stem}"
        with freed_memory_kept(device_of(ALONE, load_recipe(path, options.set).training.accelerator)):
            found[name] = _measure(path, options)
        _show(name, found[name])
    decoders = _decoders(options.decoder, options.files) if options.decoder else None
    if decoders is not None:
        print(
            f"decoding {decoders['images']} JPEG files: Pillow {decoders['pillow_ms']:.3f} ms each, torchvision "
            f"{decoders['torchvision_ms']:.3f} ms; {decoders['equal']} equal bit for bit"
        )
    files.write_json(
        options.output,
        {
            "benchmark": "input_pipeline",
            "machine": environment_metadata(),
            "device": str(device_of(ALONE, load_recipe(options.recipes[0], options.set).training.accelerator)),
            "threads": torch.get_num_threads(),
            "batches_per_turn": options.batches,
            "rounds": options.rounds,
            "unit": "images per second",
            "results": found,
            "decoders": decoders,
        },
    )


class _Step:
    """The training step of a recipe, without Lightning: forward, method, backward, optimizer."""

    def __init__(self, path: Path, overrides: Sequence[str]) -> None:
        recipe = load_recipe(path, [*overrides, "training.freeze=none"])
        data = prepare_data(recipe)
        spec = data.spec
        torch.manual_seed(recipe.training.seed)
        self.device = device_of(ALONE, recipe.training.accelerator)
        size = (spec.height, spec.width)
        model = build_model(recipe.model, recipe.exits, spec.channels, len(data.classes), size)
        self._method = build_method(recipe.distillation, setting_of(recipe, model, len(data.classes), None, None))
        self._method.bind(model)
        self.numerics: Numerics = choose_numerics(recipe.training, model, self._method, (spec.channels, *size))
        layout = torch.channels_last if self.numerics.channels_last else torch.contiguous_format
        self._model = model.to(self.device, memory_format=layout).train()  # type: ignore[call-overload]
        self._layout = layout
        self._method.to(self.device)
        parameters = [*self._model.parameters(), *self._method.parameters()]
        self._optimizer = make_optimizer(recipe.optimization, [{"params": parameters}])
        self.feeds = {kind: _feed(path, [*overrides, *extra]) for kind, extra in KINDS.items()}

    def __call__(self, batch: tuple[Tensor, Tensor]) -> None:
        images = batch[0].to(self.device, memory_format=self._layout)
        labels = batch[1].to(self.device)
        dtype = DTYPES[self.numerics.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            outputs = self._model.outputs(images, self._method.at_cut)
        pooled = tuple(feature.float() for feature in outputs.pooled)
        outputs = outputs._replace(logits=outputs.logits.float(), pooled=pooled)
        loss = self._method(outputs, Batch(images, labels), Progress(0, 1, 0.5)).total
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _feed(path: Path, overrides: Sequence[str]) -> Feed | str:
    """What feeds a recipe so set; the reason where that cannot be."""
    try:
        recipe = load_recipe(path, overrides)
        data = prepare_data(recipe)
        spec = data.spec
        size = (spec.height, spec.width)
        model = build_model(recipe.model, recipe.exits, spec.channels, len(data.classes), size)
        method = build_method(recipe.distillation, setting_of(recipe, model, len(data.classes), None, None))
        device = device_of(ALONE, recipe.training.accelerator)
        place = choose_place(recipe.data.cache, recipe.optimization.epochs, data, method, device)
        return make_feed(data, method, device, place)
    except EdgemateError as error:
        return str(error)


def _measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    step = _Step(path, options.set)
    feeds = {kind: feed for kind, feed in step.feeds.items() if isinstance(feed, Feed)}
    some = next(iter(next(iter(feeds.values())).train))
    turns: dict[str, Callable[[], float]] = {"step": lambda: _speed([some] * (options.batches + 1), step, step.wait)}
    for kind, feed in feeds.items():
        turns[f"loader: {kind}"] = partial(_speed, feed.train, _nothing, step.wait, options.batches)
        turns[f"both: {kind}"] = partial(_speed, feed.train, step, step.wait, options.batches)
    speeds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(options.rounds):
        for name, turn in turns.items():
            speeds[name].append(turn())
    memory = {kind: _memory(feed.train) for kind, feed in feeds.items() if "worker" not in kind}
    return {
        "precision": step.numerics.precision,
        "images_per_second": {
            name: {"median": statistics.median(found), "min": min(found), "max": max(found)}
            for name, found in speeds.items()
        },
        "resident_mib_over_a_pass": memory,
        "refused": {kind: feed for kind, feed in step.feeds.items() if isinstance(feed, str)},
    }


def _speed(
    batches: Iterable[tuple[Tensor, Tensor]],
    use: Callable[[tuple[Tensor, Tensor]], None],
    wait: Callable[[], None],
    count: int | None = None,
) -> float:
    """Images per second of up to `count` batches after the first."""
    images, started = 0, 0.0
    for number, batch in enumerate(islice(batches, None if count is None else count + 1)):
        use(batch)
        if number == 0:
            wait()
            started = time.perf_counter()
        else:
            images += len(batch[1])
    wait()
    return images / (time.perf_counter() - started)


def _nothing(batch: tuple[Tensor, Tensor]) -> None:
    """Take a batch and leave it."""


def _memory(loader: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """Resident memory in MiB before, after and at nine points of a pass."""
    total = len(loader)  # type: ignore[arg-type]
    every, found = max(1, total // 10), [_resident()]
    for number, _ in enumerate(loader, 1):
        if number % every == 0:
            found.append(_resident())
    return found


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _decoders(folder: Path, count: int) -> dict[str, Any]:
    from torchvision.io import ImageReadMode, decode_jpeg

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    stored = [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]

    def pillow(data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def torchvision(data: bytes) -> np.ndarray:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels: Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=True)
        return pixels.permute(1, 2, 0).numpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        equal = sum(np.array_equal(pillow(data), torchvision(data)) for data in stored)
        seconds: dict[str, list[float]] = {"pillow": [], "torchvision": []}
        for _ in range(5):
            for name, decode in (("pillow", pillow), ("torchvision", torchvision)):
                started = time.perf_counter()
                for data in stored:
                    decode(data)
                seconds[name].append(time.perf_counter() - started)
    times = {f"{name}_ms": 1000 * statistics.median(found) / len(stored) for name, found in seconds.items()}
    return {"images": len(stored), "equal": int(equal), **times}


def _show(name: str, found: dict[str, Any]) -> None:
    print(f"{name} ({found['precision']})")
    for kind, speed in found["images_per_second"].items():
        print(f"  {kind:<24} {speed['median']:>8.0f} images/s  ({speed['min']:.0f} to {speed['max']:.0f})")
    for kind, memory in found["resident_mib_over_a_pass"].items():
        start, tenth, end = f"{memory[0]:.0f}", f"{memory[1]:.0f}", f"{memory[-1]:.0f}"
        print(f"  {kind:<24} {start:>8} MiB before a pass, {tenth} after a tenth of it, {end} at its end")
    for kind, reason in found["refused"].items():
        print(f"  {kind}: {reason}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--batches", type=int, default=8, help="timed batches of a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decoder", type=Path, metavar="FOLDER")
    parser.add_argument("--files", type=int, default=300, help="JPEG files that are decoded")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "input_pipeline.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
