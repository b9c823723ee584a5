"""deploy/gpu_kit/probe.py: the choice of the fastest mode, with a stand-in for the trainings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from scripts import load_script

script = load_script("deploy/gpu_kit/probe.py")


def probe(folder: Path, monkeypatch: pytest.MonkeyPatch, epochs: dict[str, list[float]]) -> dict:
    """Run the probe. The stand-in writes its epochs at once; a mode without epochs ends with an error."""
    trainer = folder / "trainer.py"
    trainer.write_text(
        "import json, pathlib, sys, time\n"
        f"epochs = json.loads({json.dumps(json.dumps(epochs))})\n"
        "mode = 'graphs' if 'training.cuda_graphs=true' in sys.argv else "
        "'compiled' if 'training.compile=true' in sys.argv else 'eager'\n"
        "if not epochs[mode]: sys.exit('error: cannot be compiled here')\n"
        "run = pathlib.Path(sys.argv[sys.argv.index('--output') + 1])\n"
        "run.mkdir()\n"
        "rows = ''.join(f'{one}\\n' for one in epochs[mode])\n"
        "(run / 'part').write_text('seconds\\n' + rows)\n"
        "(run / 'part').rename(run / 'history.csv')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(script, "COMMAND", [sys.executable, str(trainer)])
    words = [str(folder), "--settings", str(folder / "settings"), "--output", str(folder / "probe.json")]
    monkeypatch.setattr(sys, "argv", ["probe.py", *words, "--seconds", "90", "--epochs", "3"])
    script.main()
    return json.loads((folder / "probe.json").read_text())["results"]


def test_the_fastest_over_the_whole_run_wins_and_compiling_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"eager": [9.0, 4.0, 4.2], "compiled": [60.0, 3.0, 3.2], "graphs": [300.0, 2.5, 2.5]}
    found = probe(tmp_path, monkeypatch, taken)
    assert found["eager"]["whole_run"] == pytest.approx(9 + 199 * 4.1)
    assert (tmp_path / "settings").read_text() == "training.compile=true\n"


def test_a_mode_that_fails_is_listed_and_cannot_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "RESERVED", 0.0)
    found = probe(tmp_path, monkeypatch, {"eager": [9.0, 4.0, 4.0], "compiled": [], "graphs": []})
    assert found["compiled"]["failed"] == "exit status 1: error: cannot be compiled here"
    assert (tmp_path / "settings").read_text() == "training.compile=false\n"


def test_without_any_mode_there_is_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"no mode completed a second epoch; the reasons are in .*probe\.json"):
        probe(tmp_path, monkeypatch, {"eager": [], "compiled": [], "graphs": []})
    assert not (tmp_path / "settings").exists()
