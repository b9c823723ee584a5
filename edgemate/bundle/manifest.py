"""The schema of `bundle.json`, and the checks that its parts fit together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from edgemate.core.input_spec import InputSpec, Pixels
from edgemate.core.split_options import is_nameable, refused_option
from edgemate.limits import BATCH, BUNDLE_FILES, CLASSES, COST, EXITS, IMAGE_PIXELS, INPUT_PIXELS
from edgemate.trust.folder import inside
from edgemate.trust.verifying import MANIFEST_FILE as MANIFEST_FILE
from edgemate.trust.verifying import SIGNATURE_FILE as SIGNATURE_FILE

FORMAT_VERSION: Literal[2] = 2

Layout = Literal["segments", "prefixes", "conditional"]
Precision = Literal["fp32", "fp16", "int8", "int8+fp16"]
Size = Annotated[int, Field(ge=1, le=COST.most)]
BatchSize = Annotated[int, Field(ge=1, le=BATCH.most)]
Count = Annotated[int, Field(ge=0, le=COST.most)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


def _graph_file(path: str) -> str:
    if not path.endswith(".onnx"):  # ONNX Runtime reads other formats by other endings
        raise ValueError(f"{path!r} does not end in .onnx")
    return path


FilePath = Annotated[str, AfterValidator(inside)]
GraphPath = Annotated[FilePath, AfterValidator(_graph_file)]


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputContract(InputSpec):
    """The tensor the graphs take, and how an image becomes one.

    Decode, convert to gray or RGB, `resize`, `center_crop` to `(height, width)`, then `(pixel / divisor - mean) / std`
    per channel: float32 `(N, channels, height, width)`.

    With dtype `uint8` and layout `NHWC` the graphs do the last step: they take pixels `(N, height, width, channels)`.
    With `frame`, (height, width), they resize and crop too: they take frames of that size, and of no other.
    """

    name: Literal["image"] = "image"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    divisor: Annotated[float, Field(ge=1, le=65_535)] = 255.0  # what the largest value of a pixel can be
    frame: tuple[Pixels, Pixels] | None = None

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """The shape of the tensor that the graphs take for `batch` images."""
        if self.layout == "NCHW":
            return super().shape(batch)
        height, width = self.frame or (self.height, self.width)
        return (batch, height, width, self.channels)

    @model_validator(mode="after")
    def _check_pixels_in(self) -> InputContract:
        if (self.layout == "NHWC") != (self.dtype == "uint8"):
            raise ValueError("float32 is of layout NCHW, and uint8 of layout NHWC")
        if self.frame is None:
            return self
        if self.dtype != "uint8":
            raise ValueError("frame is for dtype uint8")
        height, width = self.frame
        if height * width > INPUT_PIXELS.most:
            raise ValueError(f"frame: {height} × {width} are too many pixels; the limit is {INPUT_PIXELS.most:,}")
        self._check_resized(self.frame)
        return self

    def _check_resized(self, frame: tuple[int, int]) -> None:
        from edgemate.core.resizing import resized_size  # by PIL, which few bundles have use for before an image comes

        height, width = frame if self.resize is None else resized_size(*frame, self.resize)
        said = f"frame: {frame[0]} × {frame[1]}"
        if height * width > IMAGE_PIXELS.most:
            raise ValueError(f"{said} would become {height} × {width}; the limit is {IMAGE_PIXELS.most:,} pixels")
        if self.center_crop is None and (height, width) != (self.height, self.width):
            takes = f"the network takes {self.height} × {self.width} (height × width)"
            if self.resize is None:
                raise ValueError(f"{said} is neither resized nor cropped, and {takes}; give frames of that size")
            raise ValueError(
                f"{said} becomes {height} × {width} and is not cropped, and {takes}; give frames of that aspect ratio"
            )

    @model_serializer(mode="wrap")
    def _without_frame(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the key where it says nothing, so that earlier versions read the manifest."""
        found: dict[str, Any] = serialize(self)
        return {key: value for key, value in found.items() if key != "frame" or value is not None}


class ExitMetadata(_Metadata):
    """One exit. `exit` counts from 1; the last is the whole network.

    `macs` is the work of the prefix, from the image to this exit's logits and no other; `chained_macs` is the work of
    segments 1 to `exit`, every earlier head included, which is what anytime use costs. `accuracy` is top-1 per split.
    """

    exit: Size
    name: Name
    macs: Count
    chained_macs: Count
    parameters: Count
    accuracy: dict[str, Fraction] = {}


class Tensor(_Metadata):
    """A named input or output of a graph. The first dimension is the batch, except in a conditional graph."""

    name: Name
    dtype: Literal["float32", "float16", "int8", "int32", "uint8"] = "float32"
    shape: tuple[Size | Literal["batch"], ...]

    @model_validator(mode="after")
    def _only_the_first_is_open(self) -> Tensor:
        if not self.shape or "batch" in self.shape[1:]:
            raise ValueError(f"{self.name}: only the first dimension may be 'batch', and there must be one")
        return self


class Graph(_Metadata):
    """One ONNX file: a segment, a prefix or the conditional graph, and the named tensors it takes and gives."""

    exit: Size
    file: GraphPath
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]


class FileContent(_Metadata):
    """The size in bytes and the SHA-256 of a file's content."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Count


class FileMetadata(FileContent):
    """One file of the bundle. While it is being replaced, `next` is its new content, and either one is valid."""

    next: FileContent | None = None

    @model_serializer(mode="wrap")
    def _without_next(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the key where it says nothing, so that earlier versions read the manifest."""
        found: dict[str, Any] = serialize(self)
        return {key: value for key, value in found.items() if key != "next" or value is not None}

    @property
    def contents(self) -> tuple[FileContent, ...]:
        """What the file may contain."""
        return (self,) if self.next is None else (self, self.next)


class PrecisionMetadata(_Metadata):
    """In which precision the graphs compute; images and logits are float32 in every one.

    `kept_fp32` names the nodes, as `<file stem>: <node> (<operator>)`, that float16 might not hold and that stayed in
    float32. `calibration_samples` are the training images, by index in the dataset, that the INT8 ranges and the
    nodes kept were found on. `tolerance` is how far a logit was allowed to be from the network's, in units of the
    exit's largest logit (of 1 where that is smaller).
    """

    name: Precision
    kept_fp32: tuple[Name, ...] = ()
    calibration_samples: tuple[Count, ...] = ()
    tolerance: Annotated[float, Field(gt=0)]


class BundleMetadata(_Metadata):
    """The manifest without the files' hashes, which `BundleWriter` adds.

    Segment 1 takes `image`. A later segment takes exactly the tensors it names, each an output of an earlier segment
    (or `image`), and every segment gives `logits_<exit>`. A prefix takes `image` and gives `logits_<exit>`. Layout
    `conditional` is one graph for one image, listed under the last exit: `image` (1, …) and `thresholds` (K-1,) to
    `logits` (1, C) and `exit` (1,). `precision` is None where the graphs are the network's own float32 and
    were allowed the usual difference.
    `engine_batch` is the smallest, usual and largest batch to build engines for; None leaves it to the builder.
    `data_options` are those of the dataset that `source` names, which decide what its test split is, and never where it
    is (`core/split_options.py`); None where the dataset is a user's own part or files. With `test_limit`, the test
    split is that many of the dataset's test images.
    """

    format_version: Literal[2] = FORMAT_VERSION
    name: Name
    created: AwareDatetime
    tools: dict[str, str]
    source: dict[str, str] = {}
    data_options: dict[str, JsonValue] | None = None
    test_limit: Size | None = None
    input: InputContract
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=CLASSES.most)]
    exits: Annotated[tuple[ExitMetadata, ...], Field(min_length=1, max_length=EXITS.most)]
    graphs: Annotated[dict[Layout, tuple[Graph, ...]], Field(min_length=1)]
    precision: PrecisionMetadata | None = None
    engine_batch: tuple[BatchSize, BatchSize, BatchSize] | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> BundleMetadata:
        self._check_data_options()
        numbers = list(range(1, len(self.exits) + 1))
        if [metadata.exit for metadata in self.exits] != numbers:
            raise ValueError(f"exits are not numbered 1 to {len(self.exits)} in order")
        if self.engine_batch is not None and list(self.engine_batch) != sorted(self.engine_batch):
            raise ValueError(f"engine_batch {self.engine_batch} is not (smallest, usual, largest)")
        for layout, graphs in self.graphs.items():
            if layout == "conditional":
                self._check_conditional(graphs)
                continue
            if [graph.exit for graph in graphs] != numbers:
                raise ValueError(f"graphs.{layout} are not one per exit, 1 to {len(self.exits)} in order")
            self._check_wiring(layout, graphs)
        return self

    def _check_data_options(self) -> None:
        name, options = self.source.get("data", ""), self.data_options or {}
        refused = refused_option(name, options)
        if refused is not None:
            why = "which decides no test split" if is_nameable(name) else f"and {name!r} is no dataset that it may name"
            raise ValueError(f"data_options: a bundle may not name {refused!r}, {why}; export the run again")

    def _check_conditional(self, graphs: tuple[Graph, ...]) -> None:
        exits = len(self.exits)
        if exits < 2:
            raise ValueError("graphs.conditional: a network with one exit has no decision to make")
        image = Tensor(name=self.input.name, dtype=self.input.dtype, shape=self.input.shape(1))
        takes = {image, Tensor(name="thresholds", shape=(exits - 1,))}
        gives = {Tensor(name="logits", shape=(1, len(self.classes))), Tensor(name="exit", dtype="int32", shape=(1,))}
        found = [(graph.exit, set(graph.inputs), set(graph.outputs)) for graph in graphs]
        if found != [(exits, takes, gives)]:
            raise ValueError(
                f"graphs.conditional: is not one graph, of exit {exits}, from image and thresholds ({exits - 1},) "
                f"to logits (1, {len(self.classes)}) and int32 exit (1,)"
            )

    def _check_wiring(self, layout: Layout, graphs: tuple[Graph, ...]) -> None:
        image = Tensor(name=self.input.name, dtype=self.input.dtype, shape=("batch", *self.input.shape(1)[1:]))
        known = {image.name: image}
        for graph in graphs:
            where = f"graphs.{layout}, exit {graph.exit}"
            for tensor in graph.inputs:
                if known.get(tensor.name) != tensor:
                    raise ValueError(f"{where}: takes {tensor.name!r}, which no earlier graph gives in that shape")
            for tensor in graph.outputs:
                if tensor.shape[0] != "batch":
                    raise ValueError(f"{where}: the first dimension of {tensor.name!r} is not 'batch'")
            logits = Tensor(name=f"logits_{graph.exit}", shape=("batch", len(self.classes)))
            if logits not in graph.outputs:
                raise ValueError(f"{where}: does not give float32 {logits.name!r} of {len(self.classes)} classes")
            if layout == "segments":
                for tensor in graph.outputs:
                    if tensor.name in known:
                        raise ValueError(f"{where}: gives {tensor.name!r}, which is already taken")
                    known[tensor.name] = tensor


class Manifest(BundleMetadata):
    """`bundle.json`: the metadata, and every other file of the bundle with its size and hash."""

    files: Annotated[dict[FilePath, FileMetadata], Field(max_length=BUNDLE_FILES.most)]

    @model_validator(mode="after")
    def _graphs_are_listed(self) -> Manifest:
        for layout, graphs in self.graphs.items():
            for graph in graphs:
                if graph.file not in self.files:
                    raise ValueError(f"graphs.{layout}, exit {graph.exit}: {graph.file!r} is not in the list of files")
        for own in (MANIFEST_FILE, SIGNATURE_FILE):
            if own in self.files:
                raise ValueError(f"{own} cannot list itself")
        return self
