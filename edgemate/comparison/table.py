"""The comparison as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgemate.comparison.rate_grid import edge
from edgemate.comparison.result import Comparison, MeanAndSpread, MethodFigures, TrialFigures
from edgemate.comparison.settings import RATE, described
from edgemate.runs import Split
from edgemate.wording import counted


def comparison_markdown(found: Comparison) -> str:
    """A description and a row per method, in the order given; the best mean of each column is bold."""
    data, optimization = found.recipe["data"], found.recipe["optimization"]
    seeds = ", ".join(map(str, found.seeds))
    spread = "mean ± sample standard deviation over seeds" if len(found.seeds) > 1 else "seed"
    threads = counted(found.threads, "thread")
    in_each = _runs_by_numerics(found)
    numerics = next(iter(in_each)) if len(in_each) == 1 else "in different precisions (see below)"
    return "\n".join(
        [
            f"# {found.name}",
            "",
            f"{data['name']}, {counted(found.images['train'], 'training image')}; "
            f"{found.recipe['model']['backbone']} with "
            f"{found.recipe['exits']['head']} heads, {counted(optimization['epochs'], 'epoch')}, "
            f"batch {optimization['batch_size']}, {numerics}; weights of the last epoch.",
            f"Top-1 accuracy on {counted(found.images['test'], 'test image')} in %, {spread} {seeds}. "
            "ECE: expected calibration error in %, mean over exits.",
            f"Trained on {found.machine['processor']}, {found.jobs} at a time with {threads} each.",
            "",
            *markdown_rows(found, found.methods, "test"),
            f"| MACs of each exit alone | {' | '.join(_macs(found))} | | | | |",
            "",
            *(_differences(in_each) if len(in_each) > 1 else ()),
            *(_by_rate(found) if found.rates else _tuning(found) if found.tuned else ()),
        ]
    )


def markdown_rows(found: Comparison, methods: Sequence[MethodFigures], split: Split) -> list[str]:
    """Header and rows: accuracy per exit, their mean, the ensemble, calibration error, seconds."""
    exits = range(1, len(found.cuts) + 1)
    columns: list[tuple[str, Callable[[MethodFigures], MeanAndSpread], int]] = [
        *((f"exit {k}", lambda method, k=k: method.exit(k, split), 1) for k in exits),
        ("mean", lambda method: method.mean(split), 1),
        ("ensemble", lambda method: method.ensemble(split), 1),
        ("ECE", lambda method: method.ece(split), -1),
    ]
    best = {name: max(methods, key=lambda method: sign * of(method).mean) for name, of, sign in columns}
    lines = [
        f"| method | {' | '.join(name for name, _, _ in columns)} | s |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for method in methods:
        cells = [_cell(of(method), _text(of(best[name])) == _text(of(method))) for name, of, _ in columns]
        lines.append(f"| `{method.label}` | {' | '.join(cells)} | {method.seconds().mean:.0f} |")
    return lines


def _tuning(found: Comparison) -> list[str]:
    """What was tried, with a row per method."""
    lines = [
        f"Every method was trained with {counted(found.tuned, 'setting')}, the recipe's own first, and then with the "
        "best one and all seeds. The best one has the highest accuracy on the calibration split, averaged over exits "
        "(below, in %), with a seed that the table above does not use.",
        "",
        "| method | trainings | the recipe's own | best | setting |",
        "|---|---|---|---|---|",
    ]
    for method in found.methods:
        best = method.chosen
        assert best is not None
        figures = f"{_accuracy(method.trials[0])} | {_accuracy(best)}"
        setting = described(best.setting, method.distillation)
        lines.append(f"| `{method.label}` | {method.trainings} | {figures} | {setting} |")
    return [*lines, ""]


def _by_rate(found: Comparison) -> list[str]:
    """The accuracy of every method at every learning rate, the chosen one bold."""
    lines = [
        f"Every method was trained at {counted(len(found.rates), 'learning rate')}, and then at the best one with all "
        "seeds. The best one has the highest accuracy on the calibration split, averaged over exits (below, in %), "
        "with a seed that the table above does not use.",
        "",
        f"| method | trainings | {' | '.join(f'lr {rate:g}' for rate in found.rates)} |",
        "|---" * (len(found.rates) + 2) + "|",
    ]
    beyond = []
    for method in found.methods:
        cells = [f"**{_accuracy(trial)}**" if trial == method.chosen else _accuracy(trial) for trial in method.trials]
        lines.append(f"| `{method.label}` | {method.trainings} | {' | '.join(cells)} |")
        assert method.chosen is not None
        if side := edge(found.rates, method.chosen.setting[RATE]):
            beyond.append(f"`{method.label}` at the {side}")
    if beyond:
        lines += ["", f"A better rate may lie beyond these for {', '.join(beyond)}."]
    return [*lines, ""]


def _accuracy(trial: TrialFigures) -> str:
    return "diverged" if trial.accuracy is None else f"{100 * trial.accuracy:.2f}"


def _runs_by_numerics(found: Comparison) -> dict[str, list[str]]:
    """Precision and memory format → names of the runs that trained in them."""
    runs: dict[str, list[str]] = {}
    for method in found.methods:
        for run in method.runs:
            runs.setdefault(run.numerics, []).append(run.run)
    return runs


def _differences(in_each: dict[str, list[str]]) -> list[str]:
    """A warning for runs from different machines, whose rows differ in more than the method."""
    listed = "; ".join(f"{numerics}: {', '.join(runs)}" for numerics, runs in in_each.items())
    return [f"**The runs differ in precision or memory format**, which moves accuracies and times. {listed}.", ""]


def _cell(figure: MeanAndSpread, best: bool) -> str:
    mean = f"**{_text(figure)}**" if best else _text(figure)
    return mean if figure.deviation is None else f"{mean} ± {100 * figure.deviation:.2f}"


def _text(figure: MeanAndSpread) -> str:
    return f"{100 * figure.mean:.2f}"


def _macs(found: Comparison) -> list[str]:
    """MACs per exit in millions; a range if the methods' networks differ."""
    shown = []
    for k in range(len(found.cuts)):
        counts = sorted(method.macs[k] for method in found.methods)
        low, high = f"{counts[0] / 1e6:.2f}", f"{counts[-1] / 1e6:.2f}"
        shown.append(f"{low} M" if low == high else f"{low}–{high} M")
    return shown
