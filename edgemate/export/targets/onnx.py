"""`onnx`: a bundle of ONNX graphs, for ONNX Runtime and as what every engine is built from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from edgemate import files
from edgemate.bundle import BundleWriter, Graph
from edgemate.bundle.manifest import Layout
from edgemate.evaluation import collect_logits, trained_model
from edgemate.exits import operating_points
from edgemate.exits.operating_points import POLICIES_FILE
from edgemate.export.agreement import Agreement
from edgemate.export.facts import bundle_facts
from edgemate.export.golden import golden_samples
from edgemate.export.graphs import export_graphs
from edgemate.export.package import Exported, ExportOptions
from edgemate.export.verify import BATCH, check_graph, verify_layout
from edgemate.models import MultiExitModel, count_costs
from edgemate.runs import Golden, Run


def export_onnx(run: Run, output: Path, options: ExportOptions) -> Exported:
    """Graphs, verification, golden samples and operating points. Arguments and errors are `export_run`'s."""
    with BundleWriter(output, overwrite=options.overwrite) as writer:
        options.tell("counting what every exit costs")
        model = trained_model(run)
        golden = run.read_golden()
        picture_shape = golden.images.shape[1:]
        costs = count_costs(model, picture_shape)
        reference = _reference_logits(model, golden)

        graphs: dict[Layout, list[Graph]] = {}
        agreement: dict[Layout, tuple[Agreement, ...]] = {}
        for layout in options.layouts:
            graphs[layout] = []
            for graph in export_graphs(model, picture_shape, layout):
                options.tell(f"{layout}: exit {graph.facts.exit} of {model.exits}")
                path = writer.path / graph.facts.file
                files.write_bytes(path, graph.proto.SerializeToString())
                check_graph(path, graph.facts)
                graphs[layout].append(graph.facts)
            options.tell(f"{layout}: comparing with the network on {len(golden.images)} pictures")
            agreement[layout] = verify_layout(
                writer.path, layout, graphs[layout], golden.images, reference, options.limits
            )

        files.write_arrays(writer.path / "golden.npz", golden_samples(golden, reference, options.samples))
        points = operating_points(*run.read_logits("calibration"), [cost.chained_macs for cost in costs.exits])
        files.write_json(writer.path / POLICIES_FILE, points.model_dump(mode="json"))
        return Exported(writer.finish(bundle_facts(run, costs, graphs)), agreement)


def _reference_logits(model: MultiExitModel, golden: Golden) -> npt.NDArray[np.float32]:
    images, labels = torch.from_numpy(golden.images), torch.from_numpy(golden.labels)
    starts = range(0, len(images), BATCH)
    return collect_logits(model, ((images[i : i + BATCH], labels[i : i + BATCH]) for i in starts))[0]
