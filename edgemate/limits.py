"""The largest files, arrays, images and networks that are read, checked before memory is allocated.

Files come from anywhere, and a few bytes can claim or unfold to gigabytes. Each limit is far above what a real recipe,
run or bundle needs. docs/limits.md lists all of them; a test compares the two.
"""

from __future__ import annotations

from typing import NamedTuple

from edgemate.wording import counted


class Limit(NamedTuple):
    """The largest number of something.

    Attributes:
        most: the number.
        unit: of it, singular.
        of: what is counted, for the table of the documents.
    """

    most: int
    unit: str
    of: str

    def exceeded(self, found: int | None = None) -> str:
        """The message where it is exceeded: `has 20,000 files; the limit is 10,000`; without the number if unknown."""
        if found is None:
            return f"has more than {counted(self.most, self.unit)}, which is the limit"
        return f"has {counted(found, self.unit)}; the limit is {self.most:,}"

    def check(self, found: int) -> None:
        """Raise ValueError with that message if `found` is above it."""
        if found > self.most:
            raise ValueError(self.exceeded(found))


# Bundles
BUNDLE_FILES = Limit(10_000, "file", "a bundle")
FOLDER_ENTRIES = Limit(1_000, "file", "the folders `engines/` and `latency/` of a bundle")
CLASSES = Limit(100_000, "class", "a bundle")
EXITS = Limit(256, "exit", "a bundle or a run")
POINTS = Limit(1_000, "point", "the operating points of a bundle or a run")
COST = Limit(10**18, "", "MACs, parameters and bytes that a manifest states")
INPUT_SIDE = Limit(16_384, "pixel", "the height or width of the network's input, of its resize and of its crop")
INPUT_PIXELS = Limit(1 << 24, "pixel", "the network's input, its crop and its stretched image")
# JSON and YAML
JSON_BYTES = Limit(16 << 20, "byte", "a JSON file of a bundle or a run")
PROFILE_BYTES = Limit(64 << 20, "byte", "the `profile.json` of a run or a bundle")
JSON_DEPTH = Limit(100, "level", "nested lists and objects in JSON")
INTEGER = Limit((1 << 63) - 1, "", "an integer in JSON or YAML, without its sign")
YAML_BYTES = Limit(128 << 10, "byte", "a recipe, each file that it extends, an override, and a device specification")
YAML_DEPTH = Limit(32, "level", "nested lists and mappings in YAML")
YAML_NODES = Limit(10_000, "value", "YAML, with each alias counted as what it stands for")
EXTENDED = Limit(32, "file", "a chain of recipes that extend each other")
# Arrays
ARCHIVE_MEMBERS = Limit(1_000, "member", "an `.npz` archive")
ARRAY_BYTES = Limit(32 << 30, "byte", "an array that is read into memory, by its header")
ARRAY_RATIO = Limit(100, "", "bytes of an array per compressed byte, where the array has more than 64 MiB")
# Images
IMAGE_SIDE = Limit(65_536, "pixel", "the height or width of an image")
IMAGE_PIXELS = Limit(1 << 26, "pixel", "an image, by its header and after it is resized")
STREAM_IMAGE_BYTES = Limit(64 << 20, "byte", "an encoded image that comes by standard input")
SOURCE_FILES = Limit(200_000, "file", "a folder of images that `edgemate run` answers, with all folders in it")
# Work
BATCH = Limit(1024, "image", "a batch that is timed, or that an engine or a server takes")
THREADS = Limit(1024, "thread", "`threads`, each of which a graph may have of its own")
# Requests to `edgemate serve`
REQUEST_BYTES = Limit(64 << 20, "byte", "the body of a request to `edgemate serve`")
REQUEST_JSON_BYTES = Limit(8 << 20, "byte", "the JSON of such a request; binary tensors come after it")
REQUEST_TENSORS = Limit(16, "tensor", "the inputs, and the outputs, that such a request names")
BODIES_BYTES = Limit(256 << 20, "byte", "the bodies of all requests that are being answered")
CONNECTIONS = Limit(256, "connection", "connections to `edgemate serve` at a time")
# Graphs
GRAPH_BYTES = Limit((1 << 31) - 1, "byte", "an ONNX file")
GRAPH_FIELDS = Limit(1_000_000, "field", "an ONNX file, without the content of its arrays")
GRAPH_DEPTH = Limit(32, "level", "graphs within graphs in an ONNX file")
GRAPH_VALUES = Limit(1 << 26, "value", "the sizes that an operator of an ONNX file is given as constants, multiplied")
GRAPH_ATTRIBUTE = Limit((1 << 16), "", "an integer attribute of an operator, such as a pad, without its sign")

UNCHECKED_RATIO = 64 << 20
"""Bytes of an array up to which any compression is allowed: constants compress a thousandfold."""


def all_limits() -> dict[str, Limit]:
    """Name → limit, in the order of this file."""
    return {name: value for name, value in globals().items() if isinstance(value, Limit)}
