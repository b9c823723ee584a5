"""`list_models`: names of the networks that exits can be attached to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgemate.progress import SILENT, Progress


@dataclass(frozen=True)
class NetworkNames:
    """Names of networks.

    Attributes:
        pattern: that they match; None where none was given, so that only edgemate's own are listed.
        names: as `model.backbone` takes them, edgemate's own first.
        libraries: prefix → how many networks the library has; None where it is not installed. Only without a pattern.
    """

    pattern: str | None
    names: tuple[str, ...]
    libraries: dict[str, int | None]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"pattern": self.pattern, "names": list(self.names), "libraries": self.libraries}


def list_models(pattern: str | None = None, *, progress: Progress = SILENT) -> NetworkNames:
    """List the networks whose name matches a pattern, of edgemate, timm and torchvision.

    A library is imported only where its names may match.

    Args:
        pattern: such as `timm/efficientnet*`, `torchvision/*` or `resnet*`; `*` stands for any characters. Without one,
            edgemate's own networks are listed, and those of the libraries counted.
        progress: receives the steps.

    Returns:
        The names.

    Raises:
        UsageError: no name matches; the message names the closest ones. Or a library is needed and not installed.

    Example:
        >>> edgemate.list_models("vgg1?_bn").names
        ('vgg11_bn', 'vgg13_bn', 'vgg16_bn', 'vgg19_bn')
    """
    import fnmatch

    from edgemate.errors import UsageError
    from edgemate.registry import BACKBONES

    if pattern is None:
        return NetworkNames(None, tuple(BACKBONES.names()), _counts(progress))
    if f"{pattern.rstrip('/')}/" in BACKBONES.libraries():
        pattern = f"{pattern.rstrip('/')}/*"
    found = [name for name in BACKBONES.names() if fnmatch.fnmatchcase(name, pattern)]
    for prefix in BACKBONES.libraries():
        if not pattern.startswith((prefix, "*")):
            continue
        progress.step(f"listing {prefix.rstrip('/')}'s networks")
        from edgemate.models.networks.names import library_names

        with progress.unattended():
            if pattern.startswith(prefix):
                found += library_names(prefix, pattern.removeprefix(prefix))
            else:
                found += fnmatch.filter(library_names(prefix), pattern)
    if not found:
        progress.step("looking for names like it")
        with progress.unattended():
            raise UsageError(f"no network matches {pattern!r}; {_instead(pattern)}")
    return NetworkNames(pattern, tuple(found), {})


def _counts(progress: Progress) -> dict[str, int | None]:
    from edgemate.errors import UsageError
    from edgemate.registry import BACKBONES

    counts: dict[str, int | None] = {}
    for prefix in BACKBONES.libraries():
        progress.step(f"counting {prefix.rstrip('/')}'s networks")
        with progress.unattended():
            try:
                from edgemate.models.networks.names import library_names

                counts[prefix] = len(library_names(prefix))
            except (UsageError, ModuleNotFoundError):
                counts[prefix] = None
    return counts


def _instead(pattern: str) -> str:
    """Patterns that do match, or else the closest names."""
    import difflib

    from edgemate.errors import UsageError
    from edgemate.models.networks.names import library_names
    from edgemate.registry import BACKBONES

    asked = [prefix for prefix in BACKBONES.libraries() if pattern.startswith(prefix)]
    known = [] if asked else BACKBONES.names()
    matching = []
    for prefix in asked or BACKBONES.libraries():
        try:
            known += library_names(prefix)
            if not asked and library_names(prefix, pattern):
                matching.append(prefix + pattern)
        except (UsageError, ModuleNotFoundError):  # not installed
            continue
    if matching:
        return f"try {' or '.join(matching)}"
    close = difflib.get_close_matches(pattern.replace("*", ""), known, n=3, cutoff=0.4)
    return f"the closest names are {', '.join(close)}" if close else "`edgemate models` lists edgemate's own"
