import errno
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "lightning", "onnx", "onnxruntime", "numpy", "matplotlib", "sklearn")


def edgemate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgemate", *arguments], capture_output=True, text=True, timeout=120)


def test_help_names_every_command() -> None:
    shown = edgemate("--help").stdout
    commands = "train profile export build calibrate evaluate classify bench inspect images doctor recipes"
    for command in commands.split():
        assert command in shown


@pytest.mark.parametrize("command", [[], ["train"], ["recipes"], ["recipes", "show"]])
def test_h_is_help_everywhere(command: list[str]) -> None:
    shown = edgemate(*command, "-h")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == edgemate(*command, "--help").stdout
    assert "Usage:" in shown.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--no-such-option", "x"]])
def test_no_color_is_no_style_in_help_and_errors_too(arguments: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "edgemate", *arguments],
        env=os.environ | {"NO_COLOR": "1", "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "\x1b" not in shown.stdout + shown.stderr
    assert shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--no-such-option", "x"], "--no-such-option"),
        (["train"], "recipe"),
        (["trainx", "x"], "train"),
        (["calibrate", "x", "--max-drop", "1"], "--max-accuracy-drop"),
        (["bench", "x", "--repeats", "many"], "--repeats"),
        (["recipes", "showw"], "show"),
        (["trainx\x1b[31m\nb", "x"], "trainx"),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_help_is(arguments: list[str], said: str) -> None:
    shown = edgemate(*arguments)
    assert shown.returncode == 2
    assert not shown.stdout
    [line] = shown.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line.lower()  # older versions of click write the names of arguments in capitals
    assert " -h`" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("words", "completed"),
    [("edgemate calib", "calibrate"), ("edgemate train --resu", "--resume"), ("edgemate recipes vali", "validate")],
)
def test_a_shell_completes_commands_and_options(shell: str, words: str, completed: str) -> None:
    program = "import sys; sys.argv = ['edgemate']; from edgemate.cli.main import main; main()"
    asked = {
        "_EDGEMATE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_TYPER_COMPLETE_ARGS": words,
    }
    shown = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, timeout=120
    )
    assert completed in shown.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("run",), "Standard error has the counters, at the end, on SIGUSR1 and with --every"),
        (("bundle", "sign"), "So sign after calibrating, and the engines that this machine built."),
    ],
)
def test_paragraphs_of_help_fill_their_lines(
    command: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert any(words in line for line in edgemate(*command, "-h").stdout.splitlines())


def test_completion_is_shown_or_refused_without_a_trace() -> None:
    assert "--install-completion" in edgemate("--help").stdout
    shown = edgemate("--show-completion")
    assert "Traceback" not in shown.stderr  # where no shell can be found above this process, it is refused
    assert shown.returncode or "COMPLETE" in shown.stdout


def test_help_takes_hardly_longer_than_the_help_of_two_empty_commands() -> None:
    def seconds(*arguments: str) -> float:
        started = time.perf_counter()
        assert subprocess.run([sys.executable, *arguments], capture_output=True, timeout=120).returncode == 0
        return time.perf_counter() - started

    # A limit in seconds would be one on the machine: most of this is Python and typer, which take longer on a slow one.
    least = (
        "import typer\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def one(name: str) -> None: pass\n"
        "@app.command()\n"
        "def two(name: str) -> None: pass\n"
        "app(['--help'])"
    )
    theirs, ours = [], []
    # Other work on the machine can only add to either, so the shortest of each counts, measured in turns.
    for _ in range(20):
        theirs.append(seconds("-c", least))
        ours.append(seconds("-m", "edgemate", "--help"))
        if min(ours) <= 2.5 * min(theirs):
            return
    pytest.fail(f"help takes {min(ours):.2f} s; that of two empty commands {min(theirs):.2f} s")


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


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
@pytest.mark.parametrize(("place", "reason"), [("file/deep/report.json", "Not a directory"), ("folder", "is a folder")])
def test_an_output_that_cannot_be_written_is_one_line(own_bundle: Path, place: str, reason: str) -> None:
    (own_bundle.parent / "file").write_text("")
    (own_bundle.parent / "folder").mkdir()
    output = own_bundle.parent / place
    result = edgemate("bench", str(own_bundle), "--repeats", "2", "--warmup", "0", "--output", str(output))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {output}: {reason}; name ")
    assert result.stderr.count("\n") == 1


def test_a_full_disk_is_one_line_that_asks_for_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgemate.cli import main

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/model.safetensors")

    monkeypatch.setattr(main, "app", full)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(
        "error: run/model.safetensors: No space left on device; free some space there"
    )


def test_what_the_system_refuses_without_a_file_is_no_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgemate.cli import main

    def refused() -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(main, "app", refused)
    with pytest.raises(ConnectionResetError):
        main.main()


def test_an_unknown_option_ends_with_exit_code_2() -> None:
    result = edgemate("train", "--no-such-option", "x")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("classify", "bundle", "image.png", "--trusted-keys", ""), "the argument after --trusted-keys is empty"),
        (("classify", "bundle", "image.png", "--trusted-keys="), "--trusted-keys is empty"),
        (("run", "bundle", "--source", "images", "--done", ""), "the argument after --done is empty"),
        (("classify", "bundle", ""), "the argument after bundle is empty"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(arguments: tuple[str, ...], said: str) -> None:
    result = edgemate(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {said}; perhaps a variable of the shell is not set\n"


def test_a_link_that_leads_to_itself_is_one_line(own_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    result = edgemate("profile", str(own_bundle), "--output", str(tmp_path / "loop"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "loop" in result.stderr


def test_a_long_argument_is_not_repeated_whole() -> None:
    result = edgemate("inspect", "folder/" * 10_000)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 2100
    assert "name one that can be read" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_error_that_cannot_be_printed_is_still_exit_code_2() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run([sys.executable, "-m", "edgemate", "inspect", "nothing"], stderr=full, timeout=60)
    assert result.returncode == 2
