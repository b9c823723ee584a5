"""Every open of a bundle's file goes through `edgemate.trust.folder`: no other code of the device side opens one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgemate

ROOT = Path(edgemate.__file__).parent
# Calls that open, write or look at a file, by the name of the function or method.
OPENING = {
    "exists", "glob", "is_dir", "is_file", "iglob", "iterdir", "listdir", "load", "lstat", "memmap", "open",
    "read_arrays", "read_bytes", "read_text", "rglob", "scandir", "sha256", "stat", "touch", "walk", "write_arrays",
    "write_bytes", "write_json", "write_text",
}  # fmt: skip
# Modules that handle bundles.
DEVICE_SIDE = ("bundle", "calibration", "latency_tables.py", "live", "monitoring", "policies", "runtime", "trust")
# Those that call one of these, and on what.
ALLOWED = {
    "bundle/consistent.py": "which folder and manifest are there now; nothing is read",
    "bundle/model_repository.py": "a folder beside the bundle; nothing is read",
    "bundle/onnx_graph.py": "a path that `Bundle.file` has checked",
    "bundle/packing.py": "the one file, its folder, and a folder that was made a moment ago",
    "bundle/reading.py": "the folder itself; an .npz at a path that `Bundle.file` has checked",
    "bundle/versioned_json.py": "a path that `Bundle.file` has checked, or a file of the user's own",
    "bundle/writing.py": "the new folder that is being filled, the target, and `Bundle.place`",
    "latency_tables.py": "`Bundle.place`",
    "live/overlay.py": "the video that the user wants",
    "live/replacement.py": "which files are there now; nothing is read",
    "live/sources/folder.py": "the user's images",
    "live/sources/opening.py": "the source that the user names",
    "live/sources/standard_input.py": "images in memory",
    "live/sources/video.py": "the source that the user names",
    "monitoring/statistics.py": "a file of the user's own",
    "runtime/backends/onnx_header.py": "a path that `Bundle.graph` has checked",
    "runtime/backends/tensorrt/builder.py": "folders that `Bundle.place` has checked",
    "runtime/backends/tensorrt/cuda_libraries.py": "the system's libraries",
    "runtime/backends/tensorrt/device.py": "a file of the system",
    "runtime/backends/tensorrt/kernel.py": "a file of this package",
    "runtime/backends/tensorrt/vouched_file.py": "the user's cache",
    "runtime/backends/tensorrt/publishing.py": "a folder that `Bundle.place` has checked",
    "runtime/labeled.py": "the user's images",
    "trust/folder.py": "the one way in",
    "trust/keys.py": "the user's keys",
    "trust/ledger.py": "the user's own list",
    "trust/signing.py": "`GuardedFolder.place`",
}
# What makes a path in a bundle's folder, other than these modules.
JOINS = {"bundle/reading.py", "bundle/versioned_json.py", "trust/folder.py"}


def modules() -> list[Path]:
    places = [ROOT / name for name in DEVICE_SIDE]
    return sorted(file for place in places for file in ([place] if place.is_file() else place.rglob("*.py")))


def calls(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Name, receiver and line of each call that opens a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in OPENING:
                receiver = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
                yield name, receiver, node.lineno


def is_guarded(name: str, receiver: str) -> bool:
    """Whether it is a method of `GuardedFolder` or of `Bundle`, or has nothing to do with files."""
    if receiver.endswith("folder") or receiver.split(".")[-1] in ("hashlib", "ast", "json", "cls", "Bundle"):
        return True
    return name in ("open", "load") and receiver in ("Bundle", "AnytimeClassifier", "Cuda", "cache", "tarfile")


@pytest.mark.parametrize("module", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_module_opens_a_file(module: Path) -> None:
    name = module.relative_to(ROOT).as_posix()
    found = [found for found in calls(ast.parse(module.read_text(encoding="utf-8"))) if not is_guarded(*found[:2])]
    assert bool(found) == (name in ALLOWED), f"{name} opens files past the bundle's own way: {found}"


@pytest.mark.parametrize("module", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nobody_makes_paths_in_a_bundle_by_hand(module: Path) -> None:
    """`bundle.path / "x"` is a path that nothing has checked; in a message, or given to a check, it does no harm."""
    name = module.relative_to(ROOT).as_posix()
    if name in JOINS or name.startswith("report/"):
        return
    opened = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _opens_a_join(node)
    ]
    assert not opened


def _opens_a_join(call: ast.Call) -> bool:
    """`(bundle.path / "x").open()`, and `files.read_arrays(bundle.path / "x")`."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in OPENING:
        return False
    parts = [*call.args, *([function.value] if isinstance(function, ast.Attribute) else [])]
    return any(_is_join(node) for part in parts for node in ast.walk(part))


def _is_join(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return False
    left = node.left
    while isinstance(left, ast.BinOp):
        left = left.left
    return isinstance(left, ast.Attribute) and left.attr == "path" and "bundle" in ast.unparse(left.value).lower()
