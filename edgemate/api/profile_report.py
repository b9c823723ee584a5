"""The report of several profiles in one page, and that of one beside its `profile.json`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgemate.progress import Progress

if TYPE_CHECKING:
    from edgemate.api.opening import BundleLike, PathLike, RunLike
    from edgemate.bundle import Bundle
    from edgemate.profiling import Profile
    from edgemate.runs import Run


def write_combined_report(
    paths: Sequence[RunLike | BundleLike],
    profiles: Sequence[Profile],
    page: PathLike,
    *,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    allow_plugins: bool = False,
) -> tuple[Path, ...]:
    """Write one report of several runs and bundles, and the files of its curves beside it.

    Args:
        paths: what was profiled.
        profiles: what `profile` returned for each.
        page: the HTML file. The curves have its name, with the suffixes csv, json, png and svg.
        trusted_keys, trust_engines, allow_plugins: as for `profile`.

    Returns:
        The files written.

    Raises:
        UsageError: as by `check_page`.
        RunError, BundleError: a run or bundle cannot be opened.
        ModuleNotFoundError: what the report needs is not installed.
    """
    from edgemate.api.opening import open_either
    from edgemate.file_group import together
    from edgemate.report import write_report

    path = Path(page)
    check_page(path)
    with together(path.parent):
        found = write_report(
            [
                open_either(one, trusted_keys=trusted_keys, trust_engines=trust_engines, allow_plugins=allow_plugins)
                for one in paths
            ],
            [one.to_json() for one in profiles],
            path,
            path.with_suffix(""),
            [one.scored for one in profiles],
        )
    if path not in found.paths:
        raise ModuleNotFoundError(f"No module named {found.left_out[path.name]!r}", name=found.left_out[path.name])
    return found.paths


def check_page(page: Path, folders: Sequence[Path] = (), baseline: Path | None = None) -> None:
    """Check before anything is measured that a report can be written to `page`, and the files of its curves beside it.

    Args:
        page: the HTML file.
        folders: those that the profiles go to.
        baseline: the profile that they are compared with.

    Raises:
        UsageError: its name has no suffix `.html`; its folder is a run, a bundle or a comparison; or it would replace
            the baseline, a file of one of the profiles, or one that no earlier page brought.
        OSError: it cannot be written.
    """
    from edgemate import files
    from edgemate.errors import UsageError
    from edgemate.output_place import check_output_folder, check_outside_bundles

    if page.suffix.lower() != ".html":
        raise UsageError(f"html {page}: name a file that ends in .html")
    check_outside_bundles(page, "html")
    check_output_folder(page.parent, "html")
    curves = [page.with_suffix(f".{kind}") for kind in ("csv", "json", "png", "svg")]
    kept = {path.resolve() for folder in folders for path in _profile_files(folder)}
    if baseline is not None:
        kept.add(baseline.resolve())
    replaced = [path for path in (page, *curves) if path.resolve() in kept]
    if not _is_curves(page.with_suffix(".json")):
        replaced += [path for path in curves if os.path.lexists(path)]
    if replaced:
        raise UsageError(f"html {page}: the page or its curves would replace {replaced[0]}; give it another name")
    for path in (page, *curves):
        files.check_file(path)


def _profile_files(folder: Path) -> list[Path]:
    from edgemate.profiling.counts import LAYERS_FILE, ROOFLINE_FILE
    from edgemate.runs import Run

    run = Run(folder)
    counted = [folder / LAYERS_FILE, folder / ROOFLINE_FILE]
    return [run.profile_path, run.tradeoff_csv_path, *run.report_paths, *counted]


def _is_curves(path: Path) -> bool:
    """Whether this is the JSON of an earlier page's curves."""
    from edgemate.json_files import read_json
    from edgemate.limits import PROFILE_BYTES

    try:
        content = read_json(path, PROFILE_BYTES)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and list(content) == ["points"]


def write_own_report(opened: Run | Bundle, profile: Profile, folder: Path, progress: Progress) -> None:
    """Write the report of one profile, and the files of its curves, into the folder of the profile."""
    from edgemate.report import report_paths, write_report

    progress.step("writing the report")
    page, curves, *_ = report_paths(folder)
    write_report([opened], [profile.to_json()], page, curves.with_suffix(""), [profile.scored])
