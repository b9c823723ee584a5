"""Which settings are tried: those that Optuna's TPE sampler proposes (Bergstra et al., NeurIPS 2011)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgemate.comparison.settings import Setting
from edgemate.config import Tune
from edgemate.errors import UsageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

ROUND = 4
"""Settings that are asked for at once, so that their trainings may run at the same time."""

_RANDOM = 2 * ROUND
"""Settings that are drawn at random before the sampler looks at results."""

_DIGITS = 4
"""Significant digits of a value, so that it can be read and typed."""


def check_installed() -> None:
    """Raise UsageError if Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("tune: Optuna is not installed; pip install 'edgemate[tune]'")


class Search:
    """The search for one method's setting. The first setting is the recipe's own.

    The settings depend on the ranges, the seed and the results told before, and on nothing else: not on which training
    ends first. So an interrupted search is repeated to the same point, and a longer one begins like a shorter one.

    Args:
        space: key → range, which includes the recipe's own value.
        own: key → the recipe's own value, without the keys that have none.
        seed: of the sampler.
    """

    def __init__(self, space: Mapping[str, Tune], own: Setting, seed: int = 0) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it reports every trial otherwise
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space = {key: _distribution(declared) for key, declared in space.items()}
        self._own = {key: value for key, value in own.items() if key in space}
        self._asked: list[Trial | None] = []
        self._told = 0

    def ask(self, count: int) -> list[Setting]:
        """The next settings; the very first one is empty, the recipe's own."""
        settings: list[Setting] = []
        for _ in range(count):
            if not self._asked:
                self._asked.append(None)
                settings.append({})
                continue
            trial = self._study.ask(self._space)
            self._asked.append(trial)
            settings.append({key: _rounded(value) for key, value in trial.params.items()})
        return settings

    def tell(self, values: Sequence[float | None]) -> None:
        """Take over the results of the settings asked for last, in order.

        Args:
            values: what is maximized, in [0, 1]; None where the training diverged, which counts as 0.
        """
        import optuna

        for trial, value in zip(self._asked[self._told :], values, strict=True):
            judged = 0.0 if value is None else value
            if trial is not None:
                self._study.tell(trial, judged)
                continue
            distributions = {key: self._space[key] for key in self._own}
            self._study.add_trial(
                optuna.trial.create_trial(params=self._own, distributions=distributions, value=judged)
            )
        self._told = len(self._asked)


def _distribution(declared: Tune) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if declared.whole:
        return IntDistribution(int(declared.low), int(declared.high), log=declared.log)
    return FloatDistribution(declared.low, declared.high, log=declared.log)


def _rounded(value: float) -> float:
    if isinstance(value, int) or value == 0:
        return value
    return round(value, _DIGITS - 1 - math.floor(math.log10(abs(value))))
