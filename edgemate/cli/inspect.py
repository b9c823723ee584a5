"""`edgemate inspect`: what a bundle or a run is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgemate.cli.console import is_screen, make_console, print_table
from edgemate.cli.screen import print_json, printable
from edgemate.cli.trust import AllowPlugins, TrustedKeys
from edgemate.wording import counted, shortened

if TYPE_CHECKING:
    from rich.console import Console


def inspect(
    path: Annotated[Path, typer.Argument(help="A bundle's or a run's folder.")],
    trusted_keys: TrustedKeys = None,
    allow_plugins: AllowPlugins = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say what a bundle or a run holds. A bundle's files are checked against their SHA-256; a run records none."""
    from edgemate import api

    found = api.inspect(path, trusted_keys=trusted_keys, allow_plugins=allow_plugins)
    if as_json:
        print_json(found.to_json())
    elif isinstance(found, api.BundleReport):
        _print_bundle(found.to_json(), make_console())
    else:
        _print_run(found.to_json(), make_console())


def _print_bundle(metadata: dict[str, Any], console: Console) -> None:

    from edgemate.cli.figures import engineering, percent

    _print_pairs(
        {
            "bundle": f"{shortened(metadata['name'])}, format {metadata['format_version']}, made {metadata['created']}",
            "from": _pairs(metadata["source"]),
            "with": _pairs(metadata["tools"]),
            "input": _input(metadata["input"]),
            "classes": _names(metadata["classes"]),
            "graphs": _graphs(metadata),
            "engines": ", ".join(metadata["engines"])
            or f"not built here; on the device: edgemate build {metadata['path']}",
        },
        console,
    )
    splits = list(metadata["exits"][0]["accuracy"])
    table = _table(
        "exits", "exit", "MACs", "as segments", "parameters", *(f"{shortened(split)} accuracy" for split in splits)
    )
    for exit in metadata["exits"]:
        table.add_row(
            shortened(f"{exit['exit']} {exit['name']}"),
            *(engineering(exit[key]) for key in ("macs", "chained_macs", "parameters")),
            *(percent(exit["accuracy"][split]) for split in splits),
        )
    print_table(table, console)
    if metadata["operating_points"]:
        points = metadata["operating_points"]
        fractions = [f"exit {exit['exit']}" for exit in metadata["exits"]]
        found_on = dict.fromkeys(f"{point['split']} split, {point['provenance']}" for point in points)
        title = f"operating points ({'; '.join(found_on)})"
        table = _table(title, "name", "stops at", "accuracy", "mean MACs", *fractions)
        for point in points:
            expected = point["expected"]
            table.add_row(
                shortened(point["name"]),
                point["stops_at"],
                percent(expected["accuracy"]),
                engineering(expected["mean_macs"]),
                *(percent(fraction) for fraction in expected["fractions"]),
            )
        print_table(table, console)
    number = counted(len(metadata["files"]), "file")
    files = _table(f"{number}, checked against these SHA-256, which bundle.json records", "file", "bytes", "SHA-256")
    for name, file in metadata["files"].items():
        files.add_row(shortened(name), f"{file['bytes']:,}", file["sha256"][:16] + "…")
    print_table(files, console)


def _print_run(metadata: dict[str, Any], console: Console) -> None:
    import yaml

    from edgemate.cli.figures import percent

    state = (
        "finished"
        if metadata["finished"]
        else "training has not finished; `edgemate train RECIPE --resume` continues it"
    )
    pairs = {
        "run": f"{metadata['name']}, {state}",
        "checked": "that what is shown here can be read; a run records no SHA-256 of its files",
    }
    known = metadata.get("metadata")
    if known:
        images = ", ".join(f"{shortened(split)} {number:,}" for split, number in known["images"].items())
        pairs |= {
            "data": f"{shortened(known['dataset'])}; images: {images}",
            "input": _input(known["input"]),
            "classes": _names(known["classes"]),
            "exits": ", ".join(f"{i + 1} {shortened(cut)}" for i, cut in enumerate(known["cuts"])),
        }
    _print_pairs(pairs, console)
    accuracy = metadata.get("metrics", {}).get("accuracy", {})
    if accuracy:
        exits = len(next(iter(accuracy.values()))["exits"])
        table = _table("top-1 accuracy", "split", *(f"exit {k + 1}" for k in range(exits)), "ensemble")
        for split, fractions in accuracy.items():
            table.add_row(
                shortened(split), *(percent(fraction) for fraction in [*fractions["exits"], fractions["ensemble"]])
            )
        print_table(table, console)
    recipe = yaml.safe_dump(metadata["recipe"], sort_keys=False).rstrip()
    if is_screen():
        from rich.syntax import Syntax

        console.print(Syntax("\n".join(map(printable, recipe.split("\n"))), "yaml", background_color="default"))
    else:  # which would fill every line to its end with spaces
        for line in recipe.split("\n"):
            console.out(line)


def _print_pairs(pairs: dict[str, str], console: Console) -> None:
    width = max(map(len, pairs))
    for key, value in pairs.items():
        console.out(f"{key:<{width}}  {value}")


def _table(title: str, first: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _input(given: dict[str, Any]) -> str:
    kind = "gray" if given["channels"] == 1 else "RGB"
    steps = []
    if given["resize"]:
        size = given["resize"]["size"]
        shown = f"{size} px" if isinstance(size, int) else f"{size[0]}×{size[1]}"
        steps.append(f"{given['resize']['mode'].replace('_', ' ')} {shown} ({given['resize']['interpolation']})")
    if given["center_crop"]:
        steps.append("center crop")
    numbers = {key: ", ".join(f"{value:.4g}" for value in given[key]) for key in ("mean", "std")}
    steps.append(f"mean {numbers['mean']}, std {numbers['std']}")
    taken = ""
    if given.get("dtype") == "uint8":
        frame = given.get("frame")
        which = f"frames {frame[0]}×{frame[1]}" if frame else "pixels, resized and cropped"
        taken = f"; the graphs take uint8 {which} (N, H, W, C)"
    return f"{kind} {given['height']}×{given['width']}; {'; '.join(steps)}{taken}"


def _graphs(metadata: dict[str, Any]) -> str:
    layouts, precision = ", ".join(metadata["graphs"]), metadata["precision"]
    if precision is None:
        return f"{layouts}; fp32"
    kept = f"; kept in fp32: {', '.join(map(shortened, precision['kept_fp32']))}" if precision["kept_fp32"] else ""
    samples = counted(len(precision["calibration_samples"]), "calibration image")
    return f"{layouts}; {precision['name']}, set on {samples}{kept}"


def _names(classes: list[str], shown: int = 10) -> str:
    rest = f", … ({len(classes)} in all)" if len(classes) > shown else ""
    return ", ".join(map(shortened, classes[:shown])) + rest


def _pairs(given: dict[str, Any]) -> str:
    return ", ".join(shortened(f"{key} {value}") for key, value in given.items())
