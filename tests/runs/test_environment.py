from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgemate.runs import environment_facts


def test_versions_machine_and_command_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(Path.home())
    monkeypatch.setattr(sys, "argv", ["/opt/somewhere/edgemate", "train", f"{home}/recipes/a.yaml", "--resume"])
    facts = environment_facts()
    assert facts["command"][:2] == ["edgemate", "train"]
    assert facts["command"][-1] == "--resume"
    if home != "/":
        assert home not in json.dumps(facts)
    assert facts["cores"] >= 1
    assert facts["processor"]
    assert facts["edgemate"]
    assert facts["torch"]


def test_torch_is_asked_only_where_it_is_imported() -> None:
    program = (
        "import sys, edgemate.runs; facts = edgemate.runs.environment_facts();"
        "assert 'torch' not in sys.modules; assert 'torch_threads' not in facts;"
        "import torch; assert edgemate.runs.environment_facts()['torch_threads'] == torch.get_num_threads()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
