"""Training in two processes that are connected already; see `ranks`. Commands are in tests/cli/test_train_ranks.py."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_tasks
import torch
from ranks import Ranks

from edgemate.config.merging import merge, parse_overrides
from edgemate.evaluation import collect_logits
from edgemate.evaluation.trained import trained_model
from edgemate.runs import Run
from edgemate.training.cxx_compiler import missing_compiler
from edgemate.training.trainer import prepare_data
from recipes import SMALL

BASE = (
    "exits.options.dropout=0",
    "training.sync_batchnorm=true",
    "training.seed=1",
    "data.train_limit=128",
    "optimization.epochs=5",
)
"""Four steps per epoch, and nothing that each process draws for itself.

The seed is one with which no ReLU's input is 0 up to rounding; with seed 0 one is, and from that step on the losses of
`mate` differ by more than rounding, however the batch is divided.
"""


def tree(*overrides: str) -> dict[str, Any]:
    return merge(copy.deepcopy(SMALL), parse_overrides([*BASE, *overrides]))


def both(two: Ranks, folder: Path, *overrides: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What one process does, and what two do together."""
    recipe = tree(*overrides)
    return (
        rank_tasks.train_steps(0, 1, recipe, folder / "one"),
        two.call(rank_tasks.train_steps, recipe, folder / "two"),
    )


def assert_alike(one: dict[str, Any], ranks: list[dict[str, Any]], atol: float = 1e-4) -> None:
    """The same losses, step by step, weights and figures; the weights of both processes equal to the bit."""
    for rank in ranks:
        # A loss near 200, as beside a trained teacher, has no digits left for less than a millionth.
        assert rank["losses"] == pytest.approx(one["losses"], abs=atol, rel=1e-6)
        assert rank["weights"].keys() == one["weights"].keys()
        for name, value in one["weights"].items():
            torch.testing.assert_close(rank["weights"][name], value, atol=1e-3, rtol=1e-3, msg=name)
            assert torch.equal(rank["weights"][name], ranks[0]["weights"][name]), name
    untimed = [{key: value for key, value in row.items() if key != "seconds"} for row in one["rows"]]
    for row, expected in zip(ranks[0]["rows"], untimed, strict=True):
        assert {key: row[key] for key in expected} == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("method", ["mate", "last_exit", "joint_ce", "one", "wsl"])
def test_the_first_20_losses_are_those_of_one_process(
    two: Ranks, tmp_path: Path, finished_run: Run, method: str
) -> None:
    # Beside a trained teacher the loss is above 100, and a rate of 0.1 makes it grow.
    teacher = (f"distillation.teacher={finished_run.path}", "optimization.lr=0.001") if method == "wsl" else ()
    one, ranks = both(two, tmp_path, f"distillation.method={method}", *teacher)
    assert len(one["losses"]) == 20
    assert_alike(one, ranks)


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.train_limit=125",),  # a last batch of 29 images
        ("data.cache=device", "data.augmentation=[horizontal_flip, {random_crop: {padding: 1}}]"),
        ("optimization.ema=0.9", "training.weights=best", "training.keep_every=2"),
        ("training.freeze=backbone", "training.cache_augmentations=2"),
        pytest.param(
            ("data.sampling=balanced", "optimization.gradient_clip=0.5", "training.workers=1"), marks=pytest.mark.slow
        ),
    ],
    ids=["uneven", "on_device", "ema", "cached", "balanced"],
)
def test_so_it_is_with_other_ways_to_load_and_to_keep(two: Ranks, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    one, ranks = both(two, tmp_path, "distillation.method=joint_ce", "optimization.epochs=3", *overrides)
    assert_alike(one, ranks)
    assert ranks[0]["metrics"]["kept_epoch"] == one["metrics"]["kept_epoch"]
    kept = sorted(path.name for path in (tmp_path / "one/checkpoints").iterdir())
    assert sorted(path.name for path in (tmp_path / "two/checkpoints").iterdir()) == kept


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler() is not None, reason="needs a C++ compiler")
def test_a_compiled_network_trains_with_two_processes_as_it_does_uncompiled(two: Ranks, tmp_path: Path) -> None:
    # The last batch of an epoch is smaller, and goes through the network as it is. Synchronized batch normalization
    # is exchanged between compiled pieces, which takes minutes to compile on a CPU.
    short = ("optimization.epochs=2", "data.train_limit=80", "training.sync_batchnorm=false")
    plain = two.call(rank_tasks.train_steps, tree(*short), tmp_path / "plain")
    to_compile = tree(*short, "training.compile=true")
    compiled = two.call(rank_tasks.train_steps, to_compile, tmp_path / "compiled", seconds=900)
    # The losses of a process are those of its own images.
    assert [rank["losses"] for rank in compiled] == [pytest.approx(rank["losses"], abs=1e-4) for rank in plain]
    assert_alike(plain[0], compiled[:1])
    for name, value in compiled[0]["weights"].items():
        assert torch.equal(compiled[1]["weights"][name], value), name


def test_the_final_logits_are_those_of_the_weights_that_are_kept(two: Ranks, tmp_path: Path) -> None:
    two.call(rank_tasks.train_steps, tree("training.weights=best", "optimization.lr=0.3"), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    data = prepare_data(run.read_recipe())
    for split, loader in {"calibration": data.calibration_loader(), "test": data.test_loader()}.items():
        logits, labels = collect_logits(trained_model(run), loader)
        stored, stored_labels = run.read_logits(split)
        assert len(labels) > 2 * data.batch_size  # several turns
        np.testing.assert_array_equal(stored_labels, labels)
        np.testing.assert_allclose(stored, logits, atol=1e-4)


def test_accumulated_micro_batches_train_as_processes_do(two: Ranks, tmp_path: Path) -> None:
    # Both normalize by micro-batches of 16 images.
    apart = ("distillation.method=joint_ce", "training.sync_batchnorm=false", "data.train_limit=125")
    alone = rank_tasks.train_steps(0, 1, tree(*apart, "optimization.accumulate=2"), tmp_path / "one")
    ranks = two.call(rank_tasks.train_steps, tree(*apart), tmp_path / "two")
    steps = [sum(alone["losses"][i : i + 2]) / 2 for i in range(0, len(alone["losses"]), 2)]
    assert ranks[0]["losses"] == pytest.approx(steps, abs=1e-4, rel=1e-6)
    halves = two.call(
        rank_tasks.train_steps, tree("distillation.method=joint_ce", "optimization.accumulate=2"), tmp_path / "both"
    )
    assert len(halves[0]["losses"]) == 2 * 20
    assert halves[0]["losses"] == halves[1]["losses"]


def test_without_synchronization_statistics_agree_nevertheless(two: Ranks, tmp_path: Path) -> None:
    ranks = two.call(rank_tasks.train_steps, tree("training.sync_batchnorm=false"), tmp_path / "run")
    for name, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][name]), name


@pytest.mark.parametrize(
    "overrides",
    [
        ("distillation.method=joint_ce", "data.mixup=0.2", "data.cutmix=1.0"),
        ("distillation.method=uda_kd", "data.unlabeled={}"),
        ("distillation.method=prokt", "distillation.options={dual: true}"),
        ("distillation.method=dfa",),
        ("distillation.method=safe_kd", "training.patience=1"),
    ],
    ids=lambda overrides: overrides[0].partition("=")[2],
)
def test_processes_agree_with_methods_that_keep_state(
    two: Ranks, tmp_path: Path, finished_run: Run, overrides: tuple[str, ...]
) -> None:
    needs = any(name in overrides[0] for name in ("uda_kd", "prokt", "dfa"))
    teacher = (f"distillation.teacher={finished_run.path}",) if needs else ()
    recipe = tree("optimization.epochs=2", *overrides, *teacher)
    ranks = two.call(rank_tasks.train_steps, recipe, tmp_path / "run")
    assert "error" not in ranks[0], ranks[0]
    assert ranks[0]["losses"] == ranks[1]["losses"]
    for name, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][name]), name


def test_a_run_resumes_with_another_number_of_processes(two: Ranks, tmp_path: Path) -> None:
    whole = rank_tasks.train_steps(0, 1, tree(), tmp_path / "whole")
    stopped = tree("optimization.epochs=5", "training.patience=1", "optimization.lr=0.000001")
    begun = two.call(rank_tasks.train_steps, stopped, tmp_path / "run")
    done = len(begun[0]["rows"])
    assert done < 5  # by its patience
    more = rank_tasks.train_steps(
        0, 1, tree("optimization.epochs=6", "training.patience=1", "optimization.lr=0.000001"), tmp_path / "run", True
    )
    assert [row["epoch"] for row in more["rows"]][: done + 1] == list(range(1, done + 2))
    assert len(whole["rows"]) == 5


def test_what_one_process_cannot_do_ends_both_with_its_reason(two: Ranks, tmp_path: Path) -> None:
    ours, theirs = two.call(rank_tasks.train_steps, tree(), tmp_path / "run", False, 1)
    assert ours["error"] == ["TrainingError", f"rank 1: {tmp_path / 'run'}: model: no memory here"]
    assert theirs["error"] == ["RecipeError", f"{tmp_path / 'run'}: model: no memory here"]
    assert not (tmp_path / "run").exists()
    taken = two.call(rank_tasks.train_steps, tree("optimization.epochs=1"), tmp_path / "run")
    again = two.call(rank_tasks.train_steps, tree("optimization.epochs=1"), tmp_path / "run")
    assert "error" not in taken[0]
    assert [rank["error"][1] for rank in again] == [
        f"{tmp_path / 'run'}: is not empty; resume the run in it, or choose another folder"
    ] * 2


def test_the_run_says_how_many_processes_trained_it(two: Ranks, tmp_path: Path) -> None:
    found = two.call(rank_tasks.train_steps, tree("optimization.epochs=1"), tmp_path / "run")
    expected = {"ranks": 2, "nodes": 1, "started_by": "torchrun"}
    assert found[0]["metrics"]["distributed"] == expected
    assert json.loads((tmp_path / "run/environment.json").read_text())["distributed"] == expected


def test_a_batch_that_cannot_be_divided_is_one_line(two: Ranks, tmp_path: Path) -> None:
    found = two.call(rank_tasks.train_steps, tree("optimization.batch_size=33"), tmp_path / "run")
    assert found[0]["error"][1].startswith(f"{tmp_path / 'run'}: optimization.batch_size: 33 is not 2 processes × 1")
