"""`onnx`: a bundle of ONNX graphs, for ONNX Runtime and for building engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from edgemate import files
from edgemate.bundle import CALIBRATION_FILE, BundleWriter, Graph, InputContract, PrecisionMetadata
from edgemate.bundle.manifest import Layout, Precision
from edgemate.bundle.versioned_json import read_versioned
from edgemate.calibration import CalibrationOptions, OperatingPoints, calibrate
from edgemate.calibration.operating_points import FORMAT_VERSION, POLICIES_FILE, REMEDY
from edgemate.evaluation import collect_logits, trained_model
from edgemate.exporting.agreement import Agreement, Limits
from edgemate.exporting.bundle_metadata import bundle_metadata, input_contract
from edgemate.exporting.calibration_logits import calibration_logits
from edgemate.exporting.composing import prefix_of
from edgemate.exporting.conditional import conditional_graph
from edgemate.exporting.exported_graph import ExportedGraph
from edgemate.exporting.golden import golden_samples
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.package import Exported, ExportOptions
from edgemate.exporting.precision import convert_layout
from edgemate.exporting.precision_images import precision_images
from edgemate.exporting.uint8_input import (
    FRAME_DIFFERENCE,
    frames_of,
    memory_limited,
    pixels_of,
    uint8_contract,
    with_uint8_input,
)
from edgemate.exporting.verify import BATCH, check_graph, verify_layout
from edgemate.models import MultiExitModel, count_costs
from edgemate.runs import Run, SplitLogits
from edgemate.runtime import Preprocessor
from edgemate.wording import counted

Float = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


def export_onnx(run: Run, output: Path, options: ExportOptions) -> Exported:
    """Graphs, verification, golden samples and operating points. Arguments and errors are `export_run`'s."""
    with BundleWriter(output, overwrite=options.overwrite) as writer, options.progress.unattended():
        options.progress.step("counting the cost of every exit")
        model = trained_model(run)
        golden = run.read_golden()
        costs = count_costs(model, golden.images.shape[1:])
        reference = _reference_logits(model, golden.images)

        contract = input_contract(run, run.read_metadata())
        asked = contract if options.input == "float32" else uint8_contract(contract, options.frame)
        samples = golden_samples(golden, reference, options.samples)

        work = _Graphs(writer.path, model, options)
        work.make(golden.images, reference)
        precision = work.convert(run) if options.precision != "fp32" else None
        if "conditional" in options.layouts:
            work.assemble_conditional(golden.images, reference)
        logits, labels = work.calibration_logits(run)
        work.prune_unrequested()
        if asked.dtype == "uint8":
            samples = work.take_pixels(contract, asked, samples)

        files.write_arrays(writer.path / "golden.npz", samples)
        files.write_arrays(writer.path / CALIBRATION_FILE, {"logits": logits, "labels": labels})
        points = _points(run, logits, labels, [cost.chained_macs for cost in costs.exits], options.precision)
        files.write_json(writer.path / POLICIES_FILE, points.model_dump(mode="json"))
        allowed = work.allowed(precision, asked)
        metadata = bundle_metadata(run, costs, work.graphs, allowed, options.engine_batch, asked)
        return Exported(writer.finish(metadata), work.agreement)


class _Graphs:
    """The bundle's graphs while they are made, and the last measured agreement of each layout with the network."""

    def __init__(self, folder: Path, model: MultiExitModel, options: ExportOptions) -> None:
        self.graphs: dict[Layout, list[Graph]] = {}
        self.agreement: dict[Layout, tuple[Agreement, ...]] = {}
        self._folder = folder
        self._model = model
        self._options = options

    def make(self, images: Float, reference: Float) -> None:
        """Export every layout but the conditional graph, in float32."""
        layouts = [layout for layout in self._options.layouts if layout != "conditional"]
        if "segments" not in layouts and "conditional" in self._options.layouts:
            layouts.append("segments")  # which the conditional graph is made of
        limits = self._limits() if self._options.precision == "fp32" else Limits.of("fp32")
        for layout in sorted(layouts, key=lambda layout: layout != "segments"):  # prefixes are made of these
            self.graphs[layout] = []
            composed = layout == "prefixes" and "segments" in self.graphs
            made = self._prefixes() if composed else export_graphs(self._model, images.shape[1:], layout)
            for graph in made:
                self._options.progress.step(f"{layout}: exit {graph.metadata.exit} of {self._model.exits}")
                self._write(layout, graph)
            self._verify(layout, images, reference, limits)

    def convert(self, run: Run) -> PrecisionMetadata:
        """Convert every layout so far to the precision, and verify it on images that its ranges do not come from."""
        precision = self._options.precision
        self._options.progress.step(f"{precision}: preparing calibration images")
        images = precision_images(run)
        reference = _reference_logits(self._model, images.images)
        limits = self._limits()
        kept: list[str] = []
        for layout in self.graphs:
            self._options.progress.step(
                f"{layout}: converting to {precision} on {counted(len(images.ranges), 'image')}"
            )
            converted = convert_layout(self._folder, self.graphs[layout], precision, images.ranges)
            self.graphs[layout] = list(converted.graphs)
            kept += converted.kept_fp32
            for graph in converted.graphs:
                check_graph(self._folder / graph.file, graph)
            self._verify(layout, images.images, reference, limits, images.labels)
        return PrecisionMetadata(
            name=precision,
            kept_fp32=tuple(kept),
            calibration_samples=images.indices,
            tolerance=limits.difference,
        )

    def assemble_conditional(self, images: Float, reference: Float) -> None:
        """Make the conditional graph from the segments in their current precision."""
        self._options.progress.step("conditional: assembling the segments")
        segments = self.graphs["segments"]
        protos = [onnx.load(self._folder / graph.file) for graph in segments]
        self.graphs["conditional"] = []
        self._write("conditional", conditional_graph(protos, segments))
        self._verify("conditional", images, reference, self._limits())

    def take_pixels(
        self, contract: InputContract, asked: InputContract, samples: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Let every graph take pixels, or frames, and verify them on these golden samples; those with such images.

        With frames the samples are enlarged to them, and the network's logits are those of what `Preprocessor` makes of
        the frames, with the pixels of training.
        """
        self._options.progress.step("letting the graphs take pixels")
        pixels, reference, labels = pixels_of(samples["images"], contract), samples["logits"], samples["labels"]
        if asked.frame is not None:
            count = memory_limited(asked.shape(1), len(pixels))
            pixels, labels = frames_of(pixels[:count], asked), labels[:count]
            preprocessor = Preprocessor(contract, exact=True)
            reference = _reference_logits(self._model, np.stack([preprocessor.prepare(frame) for frame in pixels]))
        limits = self._limits(asked)
        for layout, graphs in self.graphs.items():
            float_graphs, self.graphs[layout] = graphs, []
            for graph in float_graphs:
                proto = onnx.load(self._folder / graph.file)
                self._write(layout, with_uint8_input(proto, graph, asked))
            self._verify(layout, pixels, reference, limits)
        return {"images": pixels, "labels": labels, "logits": reference}

    def calibration_logits(self, run: Run) -> SplitLogits:
        """Logits of the graphs on the calibration split."""
        self._options.progress.step("computing the logits of the calibration split")
        layout: Layout = "segments" if "segments" in self.graphs else "prefixes"
        return calibration_logits(run, self._folder, layout, self.graphs[layout], self._options.precision)

    def prune_unrequested(self) -> None:
        """Remove segments that only the conditional graph was made of. Their agreement holds for it too, and stays."""
        for layout in set(self.graphs) - set(self._options.layouts):
            for graph in self.graphs.pop(layout):
                (self._folder / graph.file).unlink()

    def _prefixes(self) -> Iterator[ExportedGraph]:
        """The prefixes, composed from the exported segments."""
        segments = self.graphs["segments"]
        protos = [onnx.load(self._folder / graph.file) for graph in segments]
        return (prefix_of(protos[:exit], segments[:exit]) for exit in range(1, len(segments) + 1))

    def _write(self, layout: Layout, graph: ExportedGraph) -> None:
        path = self._folder / graph.metadata.file
        files.write_bytes(path, graph.proto.SerializeToString())
        check_graph(path, graph.metadata)
        self.graphs[layout].append(graph.metadata)

    def _verify(
        self,
        layout: Layout,
        images: Float | Pixels,
        reference: Float,
        limits: Limits,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._options.progress.step(f"{layout}: comparing with the network on {counted(len(images), 'image')}")
        self.agreement[layout] = verify_layout(
            self._folder, layout, self.graphs[layout], images, reference, limits, labels
        )

    def allowed(self, precision: PrecisionMetadata | None, asked: InputContract) -> PrecisionMetadata | None:
        """`precision` with the difference that the graphs were allowed in the end; None for float32's usual one."""
        difference = self._limits(asked).difference
        if precision is not None:
            return precision.model_copy(update={"tolerance": difference})
        if difference == Limits.of("fp32").difference:
            return None
        return PrecisionMetadata(name="fp32", tolerance=difference)

    def _limits(self, asked: InputContract | None = None) -> Limits:
        limits = Limits.of(self._options.precision, self._options.tolerance)
        if asked is None or asked.frame is None:
            return limits
        return replace(limits, difference=max(limits.difference, FRAME_DIFFERENCE))  # a few pixels are one level off


def _points(run: Run, logits: Float, labels: Labels, macs: list[int], precision: Precision) -> OperatingPoints:
    """The operating points of the run, which are for float32 graphs; without these the default ones.

    The default ones have no temperatures, so that the conditional graph can use them too.
    """
    if precision == "fp32" and run.policies_path.is_file():
        return read_versioned(run.policies_path, OperatingPoints, FORMAT_VERSION, remedy=REMEDY)
    return calibrate(logits, labels, macs, CalibrationOptions(fit_temperatures=False)).points


def _reference_logits(model: MultiExitModel, images: Float) -> Float:
    tensor, unread = torch.from_numpy(images), torch.zeros(BATCH, dtype=torch.int64)
    starts = range(0, len(tensor), BATCH)
    return collect_logits(model, ((tensor[i : i + BATCH], unread) for i in starts))[0]
