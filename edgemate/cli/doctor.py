"""`edgemate doctor`: what this machine has of what edgemate may need."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgemate.cli.console import make_console, print_table
from edgemate.cli.screen import print_json
from edgemate.wording import counted

# What brings which command to life: extra → distributions, as in pyproject.toml.
EXTRAS = {
    "base": ("numpy", "pillow", "pydantic", "pyyaml", "rich", "typer"),
    "ort": ("onnxruntime",),
    "video": ("av",),
    "train": (
        "fvcore",
        "lightning",
        "matplotlib",
        "safetensors",
        "scikit-learn",
        "scipy",
        "tensorboard",
        "timm",
        "torch",
        "torchvision",
    ),
    "export": ("onnx", "onnxscript"),
    "report": ("bokeh", "jinja2"),
    "serve": ("aiohttp", "prometheus-client"),
    "sign": ("cryptography",),
    "tune": ("optuna",),
    "cluster": ("ray",),
    "parquet": ("pyarrow",),
}

# Dataset → where below the data root its files lie, any of them.
DATASETS = {
    "cifar10": ("cifar-10-batches-py",),
    "cifar100": ("cifar100.npz", "cifar-100-python"),
    "cub200": ("CUB_200_2011",),
    "fashion_mnist": ("FashionMNIST/raw",),
    "fgvc_aircraft": ("fgvc-aircraft-2013b",),
    "imagenet": ("imagenet",),
    "imagenette": ("imagenette", "imagenette2", "imagenette2-320", "imagenette2-160"),
    "stanford_dogs": ("stanford_dogs",),
    "tiny_imagenet": ("tiny-imagenet-200",),
    "trashnet": ("trashnet",),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what this machine has: packages per extra, processor, GPUs, TensorRT, ONNX Runtime, and datasets.

    A TensorRT that is installed and cannot be used here ends in exit code 2.
    """
    from edgemate.errors import BackendError

    metadata = _metadata()
    if as_json:
        print_json(metadata)
    else:
        _print(metadata)
    problems = [found["problem"] for found in metadata["tensorrt"] if found["problem"]]
    if problems:
        raise BackendError(problems[0])


def _metadata() -> dict[str, Any]:
    import os
    from dataclasses import asdict
    from pathlib import Path

    from edgemate.machine import machine_metadata, package_version
    from edgemate.runtime.backends.tensorrt.device import find_device
    from edgemate.runtime.backends.tensorrt.survey import survey
    from edgemate.runtime.gpus import find_gpus
    from edgemate.sensors.speed import read_speed_settings

    root = Path(os.environ.get("EDGEMATE_DATA") or "~/.cache/edgemate/data").expanduser()
    device = find_device()
    return {
        "machine": {**machine_metadata(()), **read_speed_settings()},
        "identity": None if device is None else {**asdict(device), "tag": device.tag},
        "packages": {
            extra: {package: package_version(package) for package in packages} for extra, packages in EXTRAS.items()
        },
        "tensorrt": [asdict(found) for found in survey()],
        "cuda_runtime": _cuda_runtime(),
        "gpus": [asdict(gpu) for gpu in find_gpus()],
        "onnxruntime_providers": _providers(),
        "data_root": str(root),
        "datasets": {
            "digits": package_version("scikit-learn") is not None,
            **{name: any((root / place).exists() for place in places) for name, places in DATASETS.items()},
        },
    }


def _cuda_runtime() -> dict[str, str | None]:
    from edgemate.errors import BackendError
    from edgemate.runtime.backends.tensorrt.cuda_libraries import find_cudart

    try:
        found = find_cudart()
    except BackendError as error:
        return {"version": None, "library": None, "problem": str(error)}
    return {"version": found.version_text, "library": found.path, "problem": None}


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _print(metadata: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    machine = metadata["machine"]
    console.out(f"edgemate {machine['edgemate']}, Python {machine['python']}, {machine['system']}")
    memory = f", {machine['memory_gib']} GiB" if "memory_gib" in machine else ""
    console.out(f"processor: {machine['processor']}, {counted(machine['cores'], 'usable core')}{memory}")
    settings = [f"{key} {machine[key]}" for key in ("power mode", "CPU clocks", "GPU clocks") if key in machine]
    if settings:
        console.out(", ".join(settings))
    console.out(f"NVIDIA GPUs: {', '.join(map(_gpu, metadata['gpus'])) or 'none found'}")
    if metadata["identity"] is not None:
        console.out(f"engines and timings are kept for: {metadata['identity']['tag']}")
    runtime = metadata["cuda_runtime"]
    console.out(
        f"CUDA runtime: {runtime['version']} ({runtime['library']})"
        if runtime["problem"] is None
        else f"CUDA runtime: cannot be used here: {runtime['problem']}"
        if metadata["gpus"]
        else "CUDA runtime: not needed without a GPU"
    )
    for found in metadata["tensorrt"]:
        console.out(_tensorrt(found))
    if not metadata["tensorrt"]:
        console.out("TensorRT: not installed")
    console.out(f"ONNX Runtime uses: {', '.join(metadata['onnxruntime_providers']) or 'not installed'}")
    table = Table(title="packages", title_justify="left")
    table.add_column("extra")
    table.add_column("packages", overflow="fold")
    table.add_column("to install what is missing")
    for extra, packages in metadata["packages"].items():
        missing = [package for package, version in packages.items() if version is None]
        here = [f"{package} {version}" for package, version in packages.items() if version is not None]
        absent = [Text(f"no {package}", "bold") for package in missing]
        fix = f"pip install 'edgemate[{extra}]'" if extra != "base" else "pip install edgemate"
        table.add_row(extra, Text(", ").join([*map(Text, here), *absent]), fix if missing else "")
    print_table(table, console)
    found = ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in metadata["datasets"].items())
    console.out(f"data root: {metadata['data_root']}; datasets there: {found}")


def _gpu(found: dict[str, Any]) -> str:
    described = [f"compute capability {found['compute_capability']}"]
    if found["multiprocessors"] is not None:
        described.append(f"{found['multiprocessors']} multiprocessors")
    if found["memory_bytes"] is not None:
        described.append(f"{found['memory_bytes'] / 2**30:.1f} GiB")
    return f"{found['name']} ({', '.join(described)})"


def _tensorrt(found: dict[str, Any]) -> str:
    if found["problem"]:
        return f"{found['name']}: cannot be used here"
    if found["ahead_of_time"]:
        return f"{found['name']}: builds ahead of time here"
    cores = found["dla_cores"]
    dla = "" if cores is None else f"; {counted(cores, 'DLA core')}" if cores else "; no DLA cores"
    return f"{found['name']}: builds and runs engines{dla}"
