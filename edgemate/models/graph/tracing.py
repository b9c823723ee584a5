"""Records the graph of any network with torch.fx."""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import fx, nn

from edgemate.errors import UsageError

LEAF_ATTRIBUTE = "fx_leaf"
"""A module whose class sets this to True is one node of the graph: its own code is not traced."""

# Of their subclasses, such as timm's, the code is not traced either: what they are is of use, not how they do it.
_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
_LIBRARY = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Tracer(fx.Tracer):
    """Records every operation, and for each node the modules whose output it is.

    Attributes:
        outputs_of: node → paths of the modules that return it, the innermost first.
        inside: node → path of the module whose code made it; empty for the network's own.
    """

    def __init__(self) -> None:
        from torchvision.ops import StochasticDepth  # seconds, which a recipe's check has no use for

        modules, functions = _opaque_in_timm()
        super().__init__(autowrap_functions=functions)
        self._leaves = (*modules, *_LAYERS, StochasticDepth)
        self._path = ""
        self.outputs_of: dict[fx.Node, list[str]] = {}
        self.inside: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the module is one node: torch's own, those that cannot be traced, and those that ask for it."""
        if isinstance(m, self._leaves) or getattr(m, LEAF_ATTRIBUTE, False):
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The output of a module; the paths are recorded."""
        outer, self._path = self._path, self.path_of_module(m)
        try:
            output = super().call_module(m, forward, args, kwargs)
            if isinstance(output, fx.Proxy):
                self.outputs_of.setdefault(output.node, []).append(self._path)
            return output
        finally:
            self._path = outer

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """A node of the graph; the module that is being run is recorded."""
        node = super().create_node(*args, **kwargs)
        self.inside[node] = self._path
        return node


def trace(network: nn.Module, name: str) -> tuple[fx.GraphModule, Tracer]:
    """The graph of a network in evaluation mode.

    The graph calls the network's own modules, so weights are shared. Branches on `self.training` are those of
    evaluation, except in leaf modules.

    Args:
        network: it is put into evaluation mode. It must take one tensor of images and nothing else.
        name: what messages call it.

    Returns:
        The graph with the modules, and the tracer with what it recorded about them.

    Raises:
        UsageError: it cannot be traced; the message names the line that stopped the tracer.
    """
    tracer = Tracer()
    try:
        graph = tracer.trace(network.eval(), concrete_args=_defaults(network))
    except Exception as error:  # a network's own code may raise anything
        raise UsageError(_stopped(name, error)) from error
    return fx.GraphModule(tracer.root, graph), tracer


def _defaults(network: nn.Module) -> dict[str, Any] | None:
    """The default values of all arguments of forward but the first, which are then constants of the graph."""
    parameters = list(inspect.signature(network.forward).parameters.values())
    extra = [p for p in parameters[1:] if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty]
    return {parameter.name: parameter.default for parameter in extra} or None


def _opaque_in_timm() -> tuple[list[type[nn.Module]], tuple[Callable[..., Any], ...]]:
    """The modules and functions that timm itself keeps out of traces, and its DropPath; none if timm is missing."""
    try:
        from timm.layers.drop import DropPath
        from timm.models import _features_fx as registered  # by timm.models, when it is imported
    except ImportError:
        return [], ()
    timm: Any = registered
    return [*timm.get_notrace_modules(), DropPath], tuple(timm.get_notrace_functions())


def _stopped(name: str, error: Exception) -> str:
    place = _place(error.__traceback__)
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    where = f" at {place}" if place else ""
    return (
        f"{name} cannot be traced{where}: {reason}; move what depends on the values or the shape of a tensor into a "
        f"module with `{LEAF_ATTRIBUTE} = True`, or into a function marked by torch.fx.wrap"
    )


def _place(tb: TracebackType | None) -> str | None:
    """File, line and code of the last frame that is not torch's or ours."""
    own = [frame for frame in traceback.extract_tb(tb) if not frame.filename.startswith(_LIBRARY)]
    if not own or own[-1].lineno is None:
        return None
    last = own[-1]
    code = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"{Path(last.filename).name}:{last.lineno} `{code}`"
