import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "torchvision", "lightning", "onnx", "onnxruntime", "numpy", "matplotlib", "sklearn")


def edgemate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgemate", *arguments], capture_output=True, text=True, timeout=120)


def test_help_names_every_command() -> None:
    shown = edgemate("--help").stdout
    commands = "train profile export build calibrate evaluate classify bench inspect pictures doctor recipes"
    for command in commands.split():
        assert command in shown


def test_help_answers_within_0_4_seconds() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert edgemate("--help").returncode == 0
        return time.perf_counter() - started

    # Other work on the machine can only add to it, so one undisturbed try is enough.
    assert any(seconds() <= 0.4 for _ in range(20))


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["classify", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from edgemate.cli.main import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "heavy: []"


def test_the_version_is_the_packages() -> None:
    from edgemate import __version__

    assert edgemate("--version").stdout == f"edgemate {__version__}\n"


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "train"), ("onnxruntime", "ort"), ("onnxscript", "export"), ("lightning", "train")]
)
def test_a_missing_package_is_one_line_that_names_the_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgemate.cli import main

    def missing() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=f"{module}.nn")

    monkeypatch.setattr(main, "app", missing)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert f"pip install 'edgemate[{extra}]'" in error
    assert error.count("\n") == 1


def test_an_unknown_option_ends_with_exit_code_2() -> None:
    result = edgemate("train", "--no-such-option", "x")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
