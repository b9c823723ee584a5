"""benchmarks/README.md, the index of the scripts and their results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts import BENCHMARKS, ROOT

INDEX = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in INDEX.splitlines() if line.startswith("| [")]
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", INDEX)))


def test_every_script_is_in_the_index_once_in_order() -> None:
    listed = [re.sub(r"\[(.+)\]\(\1\)", r"\1", row[0]) for row in ROWS]
    assert listed == sorted(path.name for path in BENCHMARKS.glob("*.py"))


def test_every_result_is_in_the_index() -> None:
    linked = {Path(link).stem for link in LINKS if link.startswith("results/")}
    assert linked == {path.stem for path in (BENCHMARKS / "results").iterdir()}


@pytest.mark.parametrize("link", LINKS)
def test_every_linked_file_and_heading_exists(link: str) -> None:
    name, _, anchor = link.partition("#")
    path = BENCHMARKS / name
    assert path.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_has_a_question_a_command_minutes_and_a_result(row: list[str]) -> None:
    script = row[0].partition("]")[0].strip("[")
    if script in ("comparable.py", "random_bundle.py", "run_trainings.py"):
        assert row[2] == "imported"
        return
    _, question, command, minutes, result = row
    assert question.endswith("?")
    assert command.startswith(f"`python benchmarks/{script}")
    assert re.fullmatch(r"not timed|\d+(, beside other work)?", minutes)
    assert result.startswith("[")


def test_commands_name_existing_recipes() -> None:
    for run in set(re.findall(r"runs/([\w-]+)", INDEX)):
        group, _, recipe = run.partition("-")
        assert (ROOT / "recipes" / group / f"{recipe}.yaml").is_file()


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").glob("*.json")), ids=lambda path: path.stem)
def test_a_result_names_no_folder_of_the_machine_that_measured_it(path: Path) -> None:
    assert re.findall(r'"(?:[^"]*[=:,])?/[^"/]+/[^"]*"', path.read_text(encoding="utf-8")) == []
