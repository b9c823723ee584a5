"""`edgemate evaluate`: what operating points and exits really do, beside what calibration predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.backend_options import Threads
from edgemate.cli.pixels import ExactPixels
from edgemate.cli.progress import Quiet, showing_progress
from edgemate.cli.screen import print_json
from edgemate.cli.thresholds import parse_thresholds
from edgemate.cli.trust import TrustedKeys, TrustEngines


def evaluate(
    path: Annotated[Path, typer.Argument(help="A bundle's or a run's folder, or a file of stored statistics.")],
    policy: Annotated[list[str] | None, typer.Option(help="Operating point, repeatable; all if absent.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Of a run: calibration, test or target_test; test if absent.")
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(help="Of a run: also simulate stopping above these confidences, such as 0.9,0.8."),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Also show accuracy by class, worst first.")] = False,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Also show what every exit takes for what; with --json, the matrices.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Images: a folder (one subfolder per class if labeled) or .npz; the test split if absent."),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Use only this many, spread evenly.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=2, help="Batch size measured besides 1; if absent 16, or the most that the engines take."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Backend: onnxruntime if absent, tensorrt, tensorrt_rtx.", show_default=False)
    ] = None,
    threads: Threads = None,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    exact_pixels: ExactPixels = False,
    against: Annotated[
        Path | None,
        typer.Option(help="Bundle whose calibrated fractions and probabilities are compared with, for drift alerts."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write the JSON to this file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Classify the test split with skipping, in the runtime, and compare with what was predicted.

    Gaps of more than 0.3 points of accuracy or 10 % of a time are marked with *, gaps of accuracy of more than two
    standard errors with **. The test split is found by the dataset's name and options in
    the bundle, which for some needs edgemate[train]; --data does not. Stored statistics are compared with
    --against only. Of a run, every exit is evaluated by the logits that training stored;
    --thresholds are compared with confidences at the temperatures that calibration fits.
    """
    from edgemate import api, files
    from edgemate.cli.class_tables import print_exits
    from edgemate.cli.evaluation_tables import print_report
    from edgemate.cli.policy_table import print_policy
    from edgemate.errors import UsageError
    from edgemate.output_place import check_output_file

    if output is not None:
        check_output_file(output)
    found = None
    if path.is_file():
        if against is None or not policy or len(policy) != 1:
            raise UsageError(f"{path}: statistics need something to compare with: `against` a bundle, and one `policy`")
        for_images = {"split": split, "thresholds": thresholds, "data": data, "images": images, "batch": batch}
        for_images |= {"backend": backend, "threads": threads, "trust_engines": trust_engines}
        for_images |= {"exact_pixels": exact_pixels, "per_class": per_class, "confusion": confusion}
        unused = [name for name, value in for_images.items() if value is not None and value is not False]
        if unused:
            raise UsageError(
                f"{path}: `{unused[0]}`: stored statistics are counts, and no image is classified; leave it out, or "
                "evaluate the bundle"
            )
        report = api.check_statistics(path, against, policy[0], trusted_keys=trusted_keys).to_json()
    else:
        with showing_progress(quiet) as progress:
            found = api.evaluate(
                path,
                policy,
                split=split,
                thresholds=None if thresholds is None else parse_thresholds(thresholds),
                data=data,
                images=images,
                batch=batch,
                backend=backend,
                threads=threads,
                trusted_keys=trusted_keys,
                trust_engines=trust_engines,
                exact_pixels=exact_pixels,
                against=against,
                progress=progress,
            )
        report = found.to_json(confusion=confusion)
    if output is not None:
        files.write_json(output, report)
    exits = None if found is None else found.exits
    if as_json:
        print_json(report)
    elif "points" in report:
        print_report(report)
    if exits is not None and not as_json:
        print_exits(exits, report, per_class=per_class, confusion=confusion)
        if "policy" in report:
            print_policy(report["policy"])
    elif exits is None and (per_class or confusion):
        raise UsageError(f"{path}: there are no labels, which accuracy by class needs")
