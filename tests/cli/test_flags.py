from __future__ import annotations

import pytest
import typer

from edgemate.cli.flags import name_flags
from edgemate.cli.main import app


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evaluate b --data images", "images: is neither a folder nor an .npz file"),
        ("evaluate b --data=images/", "images: is neither a folder nor an .npz file"),
        ("profile output", "output: is neither a bundle nor a run"),
        ("profile ./device_specs", "device_specs: is neither a bundle nor a run"),
        ("export output --force", "output: there is no such run folder"),
    ],
)
def test_a_path_with_the_name_of_an_option_is_left(command: str, message: str) -> None:
    assert name_flags(message, typer.main.get_command(app), command.split()) == message


def test_an_option_in_backticks_is_a_flag_also_where_a_path_has_its_name() -> None:
    shown = name_flags(
        "output: is taken; name another with `output`", typer.main.get_command(app), ["export", "output"]
    )
    assert shown == "output: is taken; name another with --output"


@pytest.mark.parametrize(
    ("command", "said", "shown"),
    [
        ("build", "tolerance 0: must be above 0", "--tolerance 0: must be above 0"),
        ("export", "tolerance inf: must be finite", "--tolerance inf: must be finite"),
        ("build", "workspace 0: must be 1 MiB or more", "--workspace 0: must be 1 MiB or more"),
        ("build", "hardware_compatibility_level x: needs", "--hardware-compatibility-level x: needs"),
        (
            "build",
            "allow_gpu_fallback: means something only with use_dla_core",
            "--allow-gpu-fallback: means something only with --use-dla-core",
        ),
        ("train", "`resume` and `overwrite` exclude each other", "--resume and --force exclude each other"),
        ("train", "overrides 'a': write section.key=value", "--set 'a': write section.key=value"),
        ("train", "runs/overwrite: is there; `overwrite` it", "runs/overwrite: is there; --force it"),
        ("classify", "threshold must be from 0 to 1, not 90", "--threshold must be from 0 to 1, not 90"),
        ("inspect", "tolerance 0: must be above 0", "tolerance 0: must be above 0"),
        ("recipes show", "overrides 'a': write section.key=value", "--set 'a': write section.key=value"),
        ("profile", "b: `device_specs`: a bundle has no", "b: --device-spec: a bundle has no"),
        ("evaluate", "a: b; name them with `data`", "a: b; name them with --data"),
        ("evaluate", "data cannot be read", "data cannot be read"),
        ("build", "bundle/use_dla_core.onnx: missing", "bundle/use_dla_core.onnx: missing"),
    ],
)
def test_options_become_the_flags_of_the_command_that_ran(command: str, said: str, shown: str) -> None:
    assert name_flags(said, typer.main.get_command(app), [*command.split(), "argument"]) == shown
