"""The registered names of parts, and the factory behind each.

A part is registered by one line in the tables at the end: `name: "module:attribute"`. The module is imported only when
the part is used, so listing names is cheap and the device never imports what is not installed there.
A dotted path, `my_pkg.my_mod:Factory`, is accepted wherever a registered name is, for a user's own part. Its module is
searched beside the recipe too (`edgemate.plug_ins`), and whatever goes wrong in it is one line.
"""

from __future__ import annotations

import difflib
import importlib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from edgemate import plug_ins
from edgemate.errors import EdgemateError, UsageError
from edgemate.wording import LONGEST, shortened

T = TypeVar("T")
_LONGEST = 300
"""Characters of another library's message that are repeated."""


class Registry:
    """The registered names of one kind of part.

    Args:
        kind: of the parts, singular, for messages ("backbone").
        targets: name → "module:attribute".
        libraries: prefix → "module:attribute" of a factory for every name that begins with it, such as `timm/`.
    """

    def __init__(self, kind: str, targets: Mapping[str, str], libraries: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._targets = dict(targets)
        self._libraries = dict(libraries or {})

    def names(self) -> list[str]:
        """Registered names, sorted."""
        return sorted(self._targets)

    def library(self, name: str) -> tuple[str, str] | None:
        """Prefix and rest of a name that a library's factory knows; None for other names."""
        prefix = next((prefix for prefix in self._libraries if name.startswith(prefix) and name != prefix), None)
        return None if prefix is None else (prefix, name.removeprefix(prefix))

    def libraries(self) -> list[str]:
        """Prefixes of names that libraries know, sorted."""
        return sorted(self._libraries)

    def __contains__(self, name: str) -> bool:
        return name in self._targets or self.library(name) is not None

    def place(self, name: str) -> tuple[str, str]:
        """Module and attribute of a registered name or a dotted path.

        Raises:
            UsageError: the name is unknown; the message names the closest ones.
        """
        found = self.library(name)
        target = self._libraries[found[0]] if found else self._targets.get(name)
        if target is None:
            if ":" not in name:
                raise UsageError(self.unknown(name))
            plug_ins.activate()
            target = name
        module, _, attribute = target.partition(":")
        return module, attribute

    def get(self, name: str) -> Callable[..., Any]:
        """The factory behind a registered name or a dotted path.

        Raises:
            UsageError: the name is unknown (the message names the closest ones), or the dotted path cannot be
                imported.
        """
        _, attribute = self.place(name)
        try:
            found: Callable[..., Any] = getattr(self._module(name), attribute)
        except AttributeError as error:
            raise UsageError(self.not_importable(name, error)) from error
        if not callable(found):
            raise UsageError(
                f"{self.kind} {shortened(name)!r} is a {type(found).__name__}; it must be a class or a function"
            )
        return found

    def make(self, name: str, returns: Any, /, *args: Any, **options: Any) -> Any:
        """What the factory behind a name makes of these arguments.

        Args:
            name: as for `get`.
            returns: the class of what a user's own factory must return, or `Callable`.
            args: of the factory.
            options: likewise.

        Raises:
            UsageError: as for `get`; or a dotted path's factory raises, does not take these arguments, or returns
                something else.
        """
        made = self.call(name, self.get(name), *args, **options)
        if name not in self and not isinstance(made, returns):
            wanted = "a function" if returns is Callable else f"{returns.__module__}.{returns.__name__}"
            raise UsageError(f"{self.kind} {shortened(name)!r} returns {_described(made)}; it must return {wanted}")
        return made

    def call(self, name: str, function: Callable[..., T], /, *args: Any, **options: Any) -> T:
        """Call a function of the part `name`; whatever a user's own one raises becomes a UsageError of one line."""
        if name in self:
            return function(*args, **options)
        try:
            return function(*args, **options)
        except EdgemateError:
            raise
        except Exception as error:
            raise UsageError(f"{self.kind} {shortened(name)!r} fails: {self._reason(name, error)}") from error

    def companion(self, name: str, prefix: str) -> Callable[..., Any] | None:
        """The function `<prefix><factory>` in the module of a factory; None where the module has none.

        So a part may come with an optional function that needs no registry line of its own.

        Raises:
            UsageError: as for `get`.
        """
        _, attribute = self.place(name)
        found: Callable[..., Any] | None = getattr(self._module(name), prefix + attribute, None)
        return found

    def constant(self, name: str, constant: str, default: Any) -> Any:
        """A constant of the module of a registered factory; the default where it has none, and for dotted paths."""
        return getattr(self._module(name), constant, default) if name in self else default

    def _module(self, name: str) -> ModuleType:
        try:
            return importlib.import_module(self.place(name)[0])
        except Exception as error:
            if name not in self:
                raise UsageError(self.not_importable(name, self._reason(name, error))) from error
            if not isinstance(error, (ImportError, AttributeError, ValueError, SyntaxError)):
                raise
            # Our own part: what it needs is not installed.
            raise UsageError(f"{self.kind} {shortened(name)!r} cannot be used here: {error}") from error

    def _reason(self, name: str, error: Exception) -> str:
        """What was raised, and in which line of the user's own file."""
        text = " ".join(str(error).split())[:_LONGEST]
        if isinstance(error, ImportError):
            reason = text
        else:
            reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        top = plug_ins.folder_of(self.place(name)[0])
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        own = [frame for frame in frames if top is not None and Path(frame.filename).is_relative_to(top)]
        return f"{reason} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else reason

    def not_importable(self, name: str, reason: object) -> str:
        """The message for a dotted path that cannot be imported."""
        return f"{self.kind} {shortened(name)!r} cannot be imported: {reason}{plug_ins.hint(self.place(name)[0])}"

    def unknown(self, name: str) -> str:
        """The message for a name that is not registered: the closest known ones, or all of them."""
        libraries = [f"{prefix}NAME" for prefix in self._libraries]
        return f"unknown {self.kind} {shortened(name)!r}; {closest(name[:LONGEST], [*self._targets, *libraries])}"


def _described(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def closest(given: str, known: Mapping[str, Any] | list[str]) -> str:
    """A hint at what would work instead of `given`: the closest of the known names, else all, if there are any."""
    near = difflib.get_close_matches(given, list(known), n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(name) for name in near) + "?"
    return "known: " + ", ".join(sorted(known)) if known else "there are none"


# A module may have `check_<factory>` beside a dataset's factory: it takes the same options and raises DataError where
# the files are missing, without reading them (see `edgemate.data.presence`).
DATASETS = Registry(
    "dataset",
    {
        "arrays": "edgemate.data.datasets.arrays:arrays",
        "cifar10": "edgemate.data.datasets.cifar:cifar10",
        "cifar100": "edgemate.data.datasets.cifar:cifar100",
        "cub200": "edgemate.data.datasets.cub200:cub200",
        "digits": "edgemate.data.datasets.digits:digits",
        "fashion_mnist": "edgemate.data.datasets.fashion_mnist:fashion_mnist",
        "fgvc_aircraft": "edgemate.data.datasets.fgvc_aircraft:fgvc_aircraft",
        "image_folder": "edgemate.data.datasets.image_folder:image_folder",
        "image_table": "edgemate.data.datasets.image_table:image_table",
        "imagenet": "edgemate.data.datasets.imagenet:imagenet",
        "imagenette": "edgemate.data.datasets.imagenette:imagenette",
        "stanford_dogs": "edgemate.data.datasets.stanford_dogs:stanford_dogs",
        "tiny_imagenet": "edgemate.data.datasets.tiny_imagenet:tiny_imagenet",
        "trashnet": "edgemate.data.datasets.trashnet:trashnet",
    },
)

AUGMENTATIONS = Registry(
    "augmentation",
    {
        "auto_augment": "edgemate.data.augmentation:auto_augment",
        "color_jitter": "edgemate.data.augmentation:color_jitter",
        "horizontal_flip": "edgemate.data.augmentation:horizontal_flip",
        "rand_augment": "edgemate.data.augmentation:rand_augment",
        "random_affine": "edgemate.data.augmentation:random_affine",
        "random_crop": "edgemate.data.augmentation:random_crop",
        "random_erasing": "edgemate.data.augmentation:random_erasing",
        "random_resized_crop": "edgemate.data.augmentation:random_resized_crop",
        "trivial_augment": "edgemate.data.augmentation:trivial_augment",
    },
)

CORRUPTIONS = Registry(
    "corruption",
    {
        "brightness": "edgemate.data.corruption:brightness",
        "contrast": "edgemate.data.corruption:contrast",
        "gaussian_blur": "edgemate.data.corruption:gaussian_blur",
        "gaussian_noise": "edgemate.data.corruption:gaussian_noise",
        "invert": "edgemate.data.corruption:invert",
    },
)

BACKBONES = Registry(
    "backbone",
    {
        "mobilenet_v2": "edgemate.models.mobilenet:mobilenet_v2",
        "mobilenet_v3_large": "edgemate.models.mobilenet:mobilenet_v3_large",
        "mobilenet_v3_small": "edgemate.models.mobilenet:mobilenet_v3_small",
        "msdnet": "edgemate.models.msdnet:msdnet",
        "msdnet_cifar_anytime": "edgemate.models.msdnet:msdnet_cifar_anytime",
        "msdnet_cifar_budgeted": "edgemate.models.msdnet:msdnet_cifar_budgeted",
        "msdnet_imagenet": "edgemate.models.msdnet:msdnet_imagenet",
        "resnet8": "edgemate.models.cifar_resnet:resnet8",
        "resnet18": "edgemate.models.resnet:resnet18",
        "resnet20": "edgemate.models.cifar_resnet:resnet20",
        "resnet32": "edgemate.models.cifar_resnet:resnet32",
        "resnet34": "edgemate.models.resnet:resnet34",
        "resnet44": "edgemate.models.cifar_resnet:resnet44",
        "resnet50": "edgemate.models.resnet:resnet50",
        "resnet56": "edgemate.models.cifar_resnet:resnet56",
        "resnet101": "edgemate.models.resnet:resnet101",
        "resnet110": "edgemate.models.cifar_resnet:resnet110",
        "resnet152": "edgemate.models.resnet:resnet152",
        "vgg11_bn": "edgemate.models.vgg:vgg11_bn",
        "vgg13_bn": "edgemate.models.vgg:vgg13_bn",
        "vgg16_bn": "edgemate.models.vgg:vgg16_bn",
        "vgg19_bn": "edgemate.models.vgg:vgg19_bn",
        "wide_resnet": "edgemate.models.wide_resnet:wide_resnet",
        "wrn_16_4": "edgemate.models.wide_resnet:wrn_16_4",
        "wrn_28_10": "edgemate.models.wide_resnet:wrn_28_10",
        "wrn_40_2": "edgemate.models.wide_resnet:wrn_40_2",
    },
    libraries={
        "timm/": "edgemate.models.networks.timm_networks:timm_network",
        "torchvision/": "edgemate.models.networks.torchvision_networks:torchvision_network",
    },
)

HEADS = Registry(
    "head",
    {
        "bottleneck": "edgemate.models.heads.bottleneck:bottleneck",
        "conv": "edgemate.models.heads.conv:conv",
        "continuation": "edgemate.models.heads.continuation:continuation",
        "inverted_residual": "edgemate.models.heads.inverted_residual:inverted_residual",
        "linear": "edgemate.models.heads.linear:linear",
        "msdnet": "edgemate.models.heads.msdnet:msdnet",
        "separable": "edgemate.models.heads.separable:separable",
    },
)

METHODS = Registry(
    "distillation method",
    {
        "beed": "edgemate.distillation.methods.beed:BEED",
        "boosted": "edgemate.distillation.methods.boosted:Boosted",
        "byot": "edgemate.distillation.methods.byot:BYOT",
        "dfa": "edgemate.distillation.methods.dfa:DFA",
        "dks": "edgemate.distillation.methods.dks:DKS",
        "dml": "edgemate.distillation.methods.dml:DML",
        "eed": "edgemate.distillation.methods.eed:EED",
        "gradient_equilibrium": "edgemate.distillation.methods.gradient_equilibrium:GradientEquilibrium",
        "joint_ce": "edgemate.distillation.methods.joint_ce:JointCE",
        "kd": "edgemate.distillation.methods.kd:KD",
        "last_exit": "edgemate.distillation.methods.last_exit:LastExit",
        "loth": "edgemate.distillation.methods.loth:LOTH",
        "mate": "edgemate.distillation.methods.mate:MATE",
        "okddip": "edgemate.distillation.methods.okddip:OKDDip",
        "one": "edgemate.distillation.methods.one:ONE",
        "prokt": "edgemate.distillation.methods.prokt:ProKT",
        "rco": "edgemate.distillation.methods.rco:RCO",
        "safe_kd": "edgemate.distillation.methods.safe_kd:SafeKD",
        "uda_kd": "edgemate.distillation.methods.uda_kd:UDAKD",
        "wsl": "edgemate.distillation.methods.wsl:WSL",
    },
)

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adamw": "edgemate.training.optimizers:adamw",
        "sgd": "edgemate.training.optimizers:sgd",
    },
    libraries={"timm/": "edgemate.training.timm_optimizers:timm_optimizer"},
)

SCHEDULES = Registry(
    "schedule",
    {
        "constant": "edgemate.training.schedules:constant",
        "cosine": "edgemate.training.schedules:cosine",
        "multi_step": "edgemate.training.schedules:multi_step",
        "one_cycle": "edgemate.training.schedules:one_cycle",
    },
)

POLICIES = Registry(
    "exit policy",
    {
        "confidence": "edgemate.policies.confidence:Confidence",
        "deadline": "edgemate.policies.deadline:Deadline",
        "entropy": "edgemate.policies.entropy:Entropy",
        "fixed": "edgemate.policies.fixed:FixedExit",
        "learned": "edgemate.policies.learned:Learned",
        "margin": "edgemate.policies.margin:Margin",
        "patience": "edgemate.policies.patience:Patience",
    },
)

SOLVERS = Registry(
    "solver",
    {
        "common": "edgemate.calibration.solvers.common:common",
        "direct": "edgemate.calibration.solvers.direct:direct",
        "eenet": "edgemate.calibration.solvers.eenet:eenet",
        "msdnet": "edgemate.calibration.solvers.msdnet:msdnet",
        "patience": "edgemate.calibration.solvers.patience_search:patience",
    },
)

BACKENDS = Registry(
    "backend",
    {
        "onnxruntime": "edgemate.runtime.backends.onnxruntime:ONNXRuntimeBackend",
        "tensorrt": "edgemate.runtime.backends.tensorrt.backend:TensorRTBackend",
        "tensorrt_rtx": "edgemate.runtime.backends.tensorrt.backend:TensorRTRTXBackend",
    },
)

EXPORT_TARGETS = Registry(
    "export target",
    {
        "onnx": "edgemate.exporting.targets.onnx:export_onnx",
        "triton": "edgemate.exporting.targets.triton:export_triton",
        "trt": "edgemate.exporting.targets.trt:export_trt",
        "trt-rtx": "edgemate.exporting.targets.trt_rtx:export_trt_rtx",
    },
)

ENGINES = Registry(
    "engine",
    {
        "local": "edgemate.comparison.engines.local:Local",
        "ray": "edgemate.comparison.engines.ray_cluster:RayCluster",
    },
)
