"""Device specifications for the roofline: peak arithmetic and memory bandwidth, each with its source.

Shipped ones are in `device_specs/`, one YAML file per device. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edgemate.config.problems import problems_of
from edgemate.config.yaml_text import parse_yaml
from edgemate.core.layer_work import Precision
from edgemate.errors import UsageError
from edgemate.limits import YAML_BYTES
from edgemate.named_files import open_named
from edgemate.wording import counted

_SHIPPED = Path(__file__).parent / "device_specs"


def _number(value: Any) -> Any:
    """YAML 1.1 reads 17e12 as text, since it has no point."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


class Figure(BaseModel):
    """One figure of a data sheet.

    Attributes:
        value: in FLOP/s, bytes/s or bytes.
        source: where it is from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
    source: Annotated[str, Field(min_length=1)]


class DeviceSpec(BaseModel):
    """What a device can do at most.

    Attributes:
        name: what tables call it.
        units: which units of it the figures are of.
        peak_flops: precision → FLOP/s without structured sparsity; a multiplication and an addition are two.
        memory_bandwidth: bytes/s of the memory that holds what does not fit on the chip.
        on_chip_bytes: bytes of caches and shared memory, which hold weights from one image to the next; None for a
            device whose `memory_bandwidth` is already that of its fastest cache.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    units: str = ""
    peak_flops: Annotated[dict[Precision, Figure], Field(min_length=1)]
    memory_bandwidth: Figure
    on_chip_bytes: Figure | None = None


def device_spec_names() -> list[str]:
    """Names of the shipped specifications, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def read_device_specs(given: Sequence[str]) -> tuple[DeviceSpec, ...]:
    """The specifications with these shipped names or paths of files, in this order, each once.

    Raises:
        UsageError: one cannot be used, or two have the same name, by which tables and files tell them apart.
    """
    found: dict[str, tuple[str, DeviceSpec]] = {}
    for one in dict.fromkeys(given):
        spec = read_device_spec(one)
        other = found.setdefault(spec.name, (one, spec))[0]
        if other != one:
            raise UsageError(f"device specs {other} and {one}: both have the name {spec.name!r}; give each its own")
    return tuple(spec for _, spec in found.values())


def read_device_spec(given: str) -> DeviceSpec:
    """The specification with a shipped name, or that of a YAML or JSON file.

    Raises:
        UsageError: it is neither; or the file cannot be read or is not a specification.
    """
    path = Path(given)
    if given in device_spec_names():
        path = _SHIPPED / f"{given}.yaml"
    elif not given or (path.suffix not in (".yaml", ".yml", ".json") and not path.exists()):
        shipped = ", ".join(device_spec_names())
        raise UsageError(f"device spec {given!r}: neither one of {shipped} nor a YAML or JSON file")
    return _parsed(_read(path), path)


def _read(path: Path) -> Any:
    try:
        with open_named(path) as source:
            content = source.read(YAML_BYTES.most + 1)
    except OSError as error:
        raise UsageError(f"device spec {path}: cannot be read: {error.strerror}") from None
    if len(content) > YAML_BYTES.most:
        raise UsageError(f"device spec {path}: larger than {counted(YAML_BYTES.most, 'byte')}, so not a device spec")
    try:
        return parse_yaml(content.decode())
    except ValueError as error:
        raise UsageError(f"device spec {path}: not valid YAML or JSON: {error}; {_FORM}") from None


def _parsed(tree: Any, path: Path) -> DeviceSpec:
    if not isinstance(tree, dict):
        raise UsageError(f"device spec {path}: not a mapping; {_FORM}")
    try:
        return DeviceSpec.model_validate(tree)
    except ValidationError as error:
        problem = problems_of(error, DeviceSpec)[0]
        raise UsageError(f"device spec {path}: {problem}; {_FORM}") from None


_FORM = (
    "it needs `name`, `peak_flops` (fp32, fp16 or int8) and `memory_bandwidth`, "
    "each figure as {value: 17.0e12, source: text}, in FLOP/s and bytes/s"
)
