"""Whether the files of a recipe's datasets exist, checked before anything is read or torch is imported."""

from __future__ import annotations

from edgemate.config import Data
from edgemate.registry import DATASETS


def check_data(section: Data) -> None:
    """Check that the files of a recipe's datasets exist and are laid out as needed; their content is not read.

    A dataset may have such a check: the function `check_<factory>` in the factory's module.

    Args:
        section: the recipe's, with every option filled in.

    Raises:
        DataError: files of a dataset are missing.
        UsageError: a dataset is unknown or cannot be imported.
    """
    named = [(section.name, section.options)]
    if section.unlabeled is not None and section.unlabeled.name is not None:
        named.append((section.unlabeled.name, section.unlabeled.options))
    for name, options in named:
        check = DATASETS.companion(name, "check_")
        if check is not None:
            DATASETS.call(name, check, **options)
