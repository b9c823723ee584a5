"""What reads recipes, runs and images."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from PIL import Image

from edgemate import api
from edgemate.config import load_recipe, parse_recipe
from edgemate.config.merging import parse_overrides
from edgemate.config.shipped import shipped_recipes
from edgemate.core.image_files import check_file, decode, read_header
from edgemate.core.input_spec import InputSpec, Resize
from edgemate.errors import EdgemateError
from edgemate.runs import Run, RunMetadata
from edgemate.runtime.preprocessing import Preprocessor
from fuzzing import archives, trees
from fuzzing.worker import Target

INPUT = InputSpec(channels=3, height=8, width=8, mean=(0.5,) * 3, std=(0.2,) * 3)


def file_targets(folder: Path) -> dict[str, Target]:
    """The targets; what they mutate is read or made once."""
    recipes = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in shipped_recipes().values()]
    recipes = [{key: value for key, value in recipe.items() if key != "extends"} for recipe in recipes]
    made = _run(folder / "run")
    stored = {path.relative_to(made.path): path.read_bytes() for path in made.path.rglob("*") if path.is_file()}
    images = _images()

    def recipe(random: Random, place: Path) -> None:
        tree = trees.mutate(random.choice(recipes), random)
        path = place / "recipe.yaml"
        path.write_bytes(_yaml(tree, random))
        if random.random() < 0.2:
            parse_overrides([f"{random.choice(trees.TEXTS)}={random.choice(trees.TEXTS)}"])
        loaded = load_recipe(path)
        yaml.safe_dump(loaded.model_dump(mode="json"))

    def run(random: Random, place: Path) -> None:
        for relative, content in stored.items():
            (place / "run" / relative).parent.mkdir(parents=True, exist_ok=True)
            (place / "run" / relative).write_bytes(content)
        for relative in random.sample(sorted(stored), random.choice((1, 1, 2))):
            path = place / "run" / relative
            if path.suffix == ".json":
                path.write_bytes(trees.dump(trees.mutate(json.loads(path.read_bytes()), random), random))
            elif path.suffix == ".yaml":
                path.write_bytes(_yaml(trees.mutate(yaml.safe_load(path.read_bytes()), random), random))
            elif path.suffix == ".npz":
                found = np.load(io.BytesIO(path.read_bytes()))
                path.write_bytes(archives.mutated({name: found[name] for name in found.files}, random))
            else:
                path.write_bytes(trees.broken(path.read_bytes(), random))
        opened = Run.open(place / "run", finished=random.random() < 0.5)
        reads: list[Any] = [
            opened.read_metadata,
            opened.read_metrics,
            opened.read_numerics,
            opened.read_recipe,
            opened.read_golden,
            opened.read_progress,
            lambda: opened.read_logits("calibration"),
            lambda: opened.read_logits("test"),
        ]
        for read in reads:
            try:
                read()
            except EdgemateError as error:
                str(error).encode()
        json.dumps(api.inspect(opened.path).to_json())

    def image(random: Random, place: Path) -> None:
        kind = random.choice(list(images))
        path = place / f"image.{random.choice(('png', 'jpg', kind))}"
        path.write_bytes(_damaged(images[kind], kind, random))
        size = random.choice((None, 8, 32))
        spec = INPUT if size is None else INPUT.model_copy(update={"resize": Resize(mode="shorter_side", size=size)})
        for use in (read_header, check_file, lambda path: decode(path, random.choice((1, 3)))):
            try:
                use(path)
            except EdgemateError as error:
                str(error).encode()
        contract = _contract(spec)
        Preprocessor(contract).prepare(path)

    return {"recipe": recipe, "run": run, "image": image}


def _yaml(tree: Any, random: Random) -> bytes:
    if random.random() < 0.3:  # JSON is YAML
        text = json.dumps(tree)
    else:
        try:
            text = yaml.safe_dump(tree, sort_keys=False)
        except (yaml.YAMLError, RecursionError, ValueError):
            text = json.dumps(tree)
    tags = ("!!int ''", "!!timestamp x", "2024-02-30", "2024-01-01T00:00:00+99:99", "&a [*a]", "!!set {a}", "*none")
    lines = text.split("\n")
    if random.random() < 0.15:
        at = random.randrange(len(lines))
        key, colon, _ = lines[at].partition(":")
        lines[at] = f"{key}: {random.choice(tags)}" if colon else lines[at]
    content = "\n".join(lines).encode(errors="surrogatepass")
    return trees.broken(content, random) if random.random() < 0.15 else content


def _run(path: Path) -> Run:
    """A finished run without a training: nothing here looks at its weights."""
    run = Run.create(path)
    tree = {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}, "optimization": {"epochs": 1}}
    run.write_recipe(parse_recipe(tree, "fuzz"))
    run.write_metadata(RunMetadata("digits", INPUT.to_json(), ("a", "b", "c"), ("stage1", "stage2"), {"test": 6}))
    logits = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    for split in ("calibration", "test"):
        run.write_logits(split, logits, np.arange(6) % 3)  # type: ignore[arg-type]
    run.write_golden(np.ones((2, 3, 8, 8), np.float32), np.array([0, 1]))
    run.write_numerics({"precision": "fp32", "channels_last": False})
    figures = {"images": 6, "exits": [0.5, 0.6], "ensemble": 0.6}
    run.write_metrics({"accuracy": {"calibration": figures, "test": figures}, "train_seconds": 1.5, "method": {}})
    run.plug_ins_path.write_text('{"folders": [{"module": "m", "folder": "~/m", "from_run": ".."}]}')
    run.progress_path.write_text('{"epoch": 1, "epochs": 2, "step": 1, "steps": 2, "seconds_left": null}')
    run.model_path.write_bytes(b"weights")
    return run


def _images() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (17, 23, 3), np.uint8)
    found = {}
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"):
        target = io.BytesIO()
        Image.fromarray(pixels).save(target, kind)
        found[kind] = target.getvalue()
    more = {"p.png": "P", "la.png": "LA", "cmyk.tiff": "CMYK", "1.bmp": "1"}
    plain = Image.fromarray(pixels)
    kinds = {name: plain.convert("L" if mode == "LA" else "RGB").convert(mode) for name, mode in more.items()}
    kinds["16.png"] = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    for name, image in kinds.items():
        target = io.BytesIO()
        image.save(target, name.partition(".")[2])
        found[name] = target.getvalue()
    return found


def _damaged(content: bytes, kind: str, random: Random) -> bytes:
    """Broken bytes, or another size where the format has it, which the pixels do not fill."""
    found = bytearray(content)
    sides = (0, 1, 17, 255, 65_535, 65_536, 1 << 20, 3_000_000, (1 << 31) - 1)
    if random.random() < 0.4:
        width, height = random.choice(sides), random.choice(sides)
        if kind.endswith("png"):
            import zlib

            found[16:24] = struct.pack(">II", width, height)
            found[29:33] = struct.pack(">I", zlib.crc32(bytes(found[12:29])))
        elif kind.endswith("bmp"):
            found[18:26] = struct.pack("<II", width, height)
        elif kind == "gif":
            found[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
        elif kind == "ppm":
            found = bytearray(f"P6 {width} {height} 255\n".encode()) + found[15:]
        elif kind == "jpeg":
            at = found.find(b"\xff\xc0")
            found[at + 5 : at + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
        return bytes(found)
    return trees.broken(bytes(found), random)


def _contract(spec: InputSpec) -> Any:
    from edgemate.bundle import InputContract

    return InputContract.model_validate({**spec.model_dump(), "center_crop": (8, 8) if spec.resize else None})
