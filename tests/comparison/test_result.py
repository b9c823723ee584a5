from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparisons import comparison, method
from figures import drawn_axes, shown_labels

from edgemate.comparison import comparison_plot
from edgemate.comparison.comparison_plot import comparison_png
from edgemate.comparison.result import agreed_metadata, figures_of
from edgemate.comparison.table import comparison_markdown
from edgemate.core.scoring import exit_accuracy
from edgemate.errors import RunError
from edgemate.runs import Run


def test_figures_are_those_of_the_stored_logits(finished_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "read_metrics", lambda self: {"train_seconds": 3.5})
    figures = figures_of(finished_run, 4)
    assert figures.seed == 4
    assert figures.run == "tiny"
    assert figures.train_seconds == 3.5
    for split in ("test", "calibration"):
        logits, labels = finished_run.read_logits(split)
        found = getattr(figures, split)
        assert found.exits == pytest.approx(exit_accuracy(logits, labels))
        assert found.mean == pytest.approx(sum(found.exits) / 3)
        assert len(found.ece) == 3


@pytest.fixture
def damaged(finished_run: Run, tmp_path: Path) -> Run:
    """A copy of a run, to be damaged."""
    return Run(Path(shutil.copytree(finished_run.path, tmp_path / "run")))


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_run_that_is_not_as_training_wrote_it_is_one_line(damaged: Run) -> None:
    numerics = damaged.numerics_path.read_text()
    damaged.metrics_path.write_text("{}")
    with pytest.raises(RunError, match=r"metrics\.json: the key 'train_seconds' is missing; train the run again"):
        figures_of(damaged, 0)
    damaged.metrics_path.write_text('{"train_seconds": 3.5}')
    for value in ("\x1b[31m<b>", ["bf16"], None):
        changed(damaged.numerics_path, precision=value)
        with pytest.raises(RunError, match=r"numerics\.json: not as training wrote it; train the run again$"):
            figures_of(damaged, 0)
    damaged.numerics_path.write_text(numerics)
    figures_of(damaged, 0)


@pytest.mark.parametrize("split", ["test", "calibration"])
@pytest.mark.parametrize("change", ["exits", "images", "not finite"])
def test_logits_that_are_not_of_the_run_are_refused(damaged: Run, split: Any, change: str) -> None:
    logits, labels = (np.array(array) for array in damaged.read_logits(split))
    if change == "exits":
        logits = logits[:, :1]
    elif change == "images":
        logits, labels = logits[1:], labels[1:]
    else:
        logits[0, 0, 0] = np.nan
    damaged.metrics_path.write_text('{"train_seconds": 3.5}')
    damaged.write_logits(split, logits, labels)
    said = "that are not finite" if change == "not finite" else r"logits are \(images, exits, classes\) .*; the run has"
    with pytest.raises(RunError, match=said):
        figures_of(damaged, 0)


def test_runs_of_other_data_are_not_compared(finished_run: Run, damaged: Run) -> None:
    assert agreed_metadata([finished_run, damaged]) == finished_run.read_metadata()
    images = finished_run.read_metadata().images
    changed(damaged.metadata_path, images={**images, "test": images["test"] + 1})
    with pytest.raises(RunError, match=r"run/metadata\.json: images are others than in .*tiny; train the run again"):
        agreed_metadata([finished_run, damaged])
    changed(damaged.metadata_path, images={})
    with pytest.raises(RunError, match="images: 'train' is missing"):
        agreed_metadata([damaged, finished_run])


def test_means_and_sample_deviations_are_over_seeds() -> None:
    figures = method("mate", [(0.5, 0.6), (0.7, 0.6)])
    assert figures.exit(1).mean == pytest.approx(0.6)
    assert figures.exit(1).deviation == pytest.approx(0.02**0.5)
    assert figures.exit(2).deviation == 0
    assert figures.mean().mean == pytest.approx(0.6)
    assert method("mate", [(0.5, 0.6)]).exit(1).deviation is None


def test_the_table_keeps_the_order_and_sets_the_best_in_bold() -> None:
    found = comparison(method("joint_ce", [(0.5, 0.7), (0.5, 0.7)]), method("mate", [(0.6, 0.65), (0.62, 0.65)]))
    lines = comparison_markdown(found).splitlines()
    assert lines[0] == "# tiny"
    rows = [line for line in lines if line.startswith("| `")]
    assert rows[0].startswith("| `joint_ce` | 50.00 ± 0.00 | **70.00** ± 0.00 | 60.00 ± 0.00 |")
    assert rows[1].startswith("| `mate` | **61.00** ± 1.41 | 65.00 ± 0.00 | **63.00** ± 0.71 |")
    assert "| MACs of each exit alone | 1.00 M | 2.00 M |" in lines[-1]
    assert "over seeds 0, 1" in "\n".join(lines)
    # Every row has as many cells as the header.
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_the_table_states_the_numerics_and_warns_where_they_differ() -> None:
    same = comparison_markdown(comparison(method("a", [(0.5, 0.7)]), method("b", [(0.6, 0.6)])))
    assert "batch 64, fp32, contiguous; weights" in same
    assert "differ" not in same
    mixed = comparison(method("a", [(0.5, 0.7)]), method("b", [(0.6, 0.6)], numerics="bf16, channels_last"))
    text = comparison_markdown(mixed)
    assert "**The runs differ in precision or memory format**" in text
    assert "fp32, contiguous: a-seed0; bf16, channels_last: b-seed0." in text


def test_the_lowest_calibration_error_is_the_best_one() -> None:
    found = comparison(method("a", [(0.5, 0.7)], ece=0.02), method("b", [(0.6, 0.6)], ece=0.04))
    a, b = (line for line in comparison_markdown(found).splitlines() if line.startswith("| `"))
    assert "| **2.00** |" in a
    assert "| 4.00 |" in b
    assert "±" not in a


def test_json_has_the_rows_beside_the_runs_they_are_of() -> None:
    tree = comparison(method("mate", [(0.5, 0.6), (0.7, 0.6)])).to_json()
    (row,) = tree["methods"]
    assert row["over_seeds"]["exits"][0]["mean"] == pytest.approx(0.6)
    assert [run["seed"] for run in row["runs"]] == [0, 1]


@pytest.mark.parametrize("methods", [1, 14])
def test_the_plot_is_a_png(methods: int) -> None:
    found = comparison(*(method(f"m{i}", [(0.5, 0.6), (0.7, 0.6 + i / 100)]) for i in range(methods)))
    assert comparison_png(found).startswith(b"\x89PNG")


@pytest.mark.parametrize("spread", [0.002, 0.02, 0.3])
def test_the_accuracies_at_the_axes_differ(spread: float) -> None:
    found = comparison(*(method(f"m{i}", [(0.5, 0.5 + spread * (i + 1) / 2)]) for i in range(2)))
    exits, means = drawn_axes(comparison_plot, lambda: comparison_plot.comparison_png(found))
    for labels in (shown_labels(exits, "y"), shown_labels(means, "x")):
        assert len(labels) == len(set(labels)) >= 3


def test_the_names_beside_the_means_are_the_key_of_both_plots() -> None:
    labels = [f"m{i}" for i in range(13)]
    found = comparison(*(method(label, [(0.5, 0.6 + i / 100)]) for i, label in enumerate(labels)))
    exits, means = drawn_axes(comparison_plot, lambda: comparison_plot.comparison_png(found))
    assert shown_labels(means, "y") == labels
    assert exits.get_legend() is None, "it would cover points"
    drawn = [[(bar[0].get_color(), bar[0].get_marker()) for bar in axes.containers] for axes in (exits, means)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == len(labels)


@pytest.mark.parametrize("first", [0.9, 0.99, 1.0])
def test_no_axis_shows_more_than_100_percent(first: float) -> None:
    found = comparison(method("a", [(first, 1.0), (first - 0.02, 0.98)]), method("b", [(first, 0.97), (first, 1.0)]))
    exits, means = drawn_axes(comparison_plot, lambda: comparison_plot.comparison_png(found))
    assert exits.get_ylim()[1] == 1
    assert 0.7 < exits.get_ylim()[0] < first - 0.02
    assert means.get_xlim()[1] <= 1
