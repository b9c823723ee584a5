"""`write_report`: the page and the files of the curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.profiling.scored_images import ScoredImages
from edgemate.report.curve_files import curves_csv, curves_json
from edgemate.report.sheet import Sheet
from edgemate.runs import Run

OPTIONAL = {"bokeh": "report", "jinja2": "report", "markupsafe": "report", "matplotlib": "train"}
"""Modules without which a file is left out, and the extra that brings each."""


@dataclass(frozen=True)
class Written:
    """The files written, and for each that was left out its name and the module that is not installed."""

    paths: tuple[Path, ...]
    left_out: dict[str, str]


def write_report(
    opened: Sequence[Run | Bundle],
    profiles: Sequence[Mapping[str, Any]],
    page: Path,
    curves: Path,
    scored: Sequence[ScoredImages | None] | None = None,
) -> Written:
    """Write the report of one run or bundle, or of several beside each other.

    A run is shown on its test split, from the logits that training stored. A bundle is shown on the images that its
    profile scored if some were given, and else on its calibration split, whose logits it carries. The page and every
    row of the curves say which. Nothing is measured.

    Args:
        opened: finished runs or bundles.
        profiles: the profile of each, as `Profile.to_json` gives it.
        page: the HTML file.
        curves: the path of the files of the curves, without suffix: `.csv`, `.json`, `.png` and `.svg` are added.
        scored: for each the images that were given, as `Profile.scored` has them; None if none were.

    Raises:
        RunError, BundleError: a file cannot be read.
        UsageError: a profile is of another network.
    """
    given = [None] * len(opened) if scored is None else scored
    sheets = [Sheet.of(*each) for each in zip(opened, profiles, given, strict=True)]
    files.write_text(_with_suffix(curves, "csv"), curves_csv(sheets))
    files.write_json(_with_suffix(curves, "json"), curves_json(sheets))
    written = [_with_suffix(curves, "csv"), _with_suffix(curves, "json")]
    left_out = {}
    makers: dict[Path, Callable[[Sequence[Sheet]], bytes]] = {
        page: _page,
        _with_suffix(curves, "png"): _png,
        _with_suffix(curves, "svg"): _svg,
    }
    for path, maker in makers.items():
        try:
            content = maker(sheets)
        except ModuleNotFoundError as error:
            module = (error.name or "").partition(".")[0]
            if module not in OPTIONAL:
                raise
            left_out[path.name] = module
        else:
            files.write_bytes(path, content)
            written.append(path)
    return Written(tuple(written), left_out)


def report_paths(folder: Path) -> list[Path]:
    """Where the files of a report are in the folder of a profile: the page, then those of the curves."""
    return list(Run(folder).report_paths)


def _page(sheets: Sequence[Sheet]) -> bytes:
    from edgemate.report.profile_page import report_html

    return report_html(sheets).encode()


def _png(sheets: Sequence[Sheet]) -> bytes:
    from edgemate.report.curve_plot import curves_image

    return curves_image(sheets, "png")


def _svg(sheets: Sequence[Sheet]) -> bytes:
    from edgemate.report.curve_plot import curves_image

    return curves_image(sheets, "svg")


def _with_suffix(stem: Path, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}.{suffix}")
