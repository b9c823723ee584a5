"""Whether the files of a recipe's datasets are there, told before anything is read or torch is imported."""

from __future__ import annotations

from edgemate.config import Data
from edgemate.registry import DATA_CHECKS


def check_data(section: Data) -> None:
    """Look for the files of a recipe's datasets, and at how they are laid out; their content is not read.

    Args:
        section: the recipe's, with every option.

    Raises:
        DataError: a dataset will not be found when it is loaded.
    """
    named = [(section.name, section.options)]
    if section.unlabeled is not None and section.unlabeled.name is not None:
        named.append((section.unlabeled.name, section.unlabeled.options))
    for name, options in named:
        if name in DATA_CHECKS:
            DATA_CHECKS.get(name)(**options)
