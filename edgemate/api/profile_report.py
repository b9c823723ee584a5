"""The report of several profiles in one page, and that of one beside its `profile.json`."""

from __future__ import annotations

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
    paths: Sequence[RunLike | BundleLike], profiles: Sequence[Profile], page: PathLike
) -> tuple[Path, ...]:
    """Write one report of several runs and bundles, and the files of its curves beside it.

    Args:
        paths: what was profiled.
        profiles: what `profile` returned for each.
        page: the HTML file. The curves have its name, with the suffixes csv, json, png and svg.

    Returns:
        The files written.

    Raises:
        UsageError: the file's name has no suffix `.html`.
        ModuleNotFoundError: what the report needs is not installed.
    """
    from edgemate.api.opening import open_either
    from edgemate.file_group import together
    from edgemate.report import write_report

    path = Path(page)
    check_page(path)
    with together(path.parent):
        found = write_report(
            [open_either(one) for one in paths],
            [one.to_json() for one in profiles],
            path,
            path.with_suffix(""),
            [one.scored for one in profiles],
        )
    if path not in found.paths:
        raise ModuleNotFoundError(f"No module named {found.left_out[path.name]!r}", name=found.left_out[path.name])
    return found.paths


def check_page(page: Path) -> None:
    """Check before anything is measured that a report can be written to `page`. Raises UsageError, OSError."""
    from edgemate import files
    from edgemate.errors import UsageError
    from edgemate.output_place import check_outside_bundles

    if page.suffix.lower() != ".html":
        raise UsageError(f"html {page}: name a file that ends in .html")
    check_outside_bundles(page, "html")
    files.check_file(page)


def write_own_report(opened: Run | Bundle, profile: Profile, folder: Path, progress: Progress) -> None:
    """Write the report of one profile, and the files of its curves, into the folder of the profile."""
    from edgemate.report import report_paths, write_report

    progress.step("writing the report")
    page, curves, *_ = report_paths(folder)
    write_report([opened], [profile.to_json()], page, curves.with_suffix(""), [profile.scored])
