"""Write a bundle of an untrained network, for timing: latency does not depend on the weights."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate import __version__, files
from edgemate.bundle import Bundle, BundleMetadata, BundleWriter, ExitMetadata, Graph, InputContract
from edgemate.bundle.manifest import Layout

if TYPE_CHECKING:
    from edgemate.models import MultiExitModel


def write_random_bundle(target: Path, backbone: str, image_shape: tuple[int, int, int], **options: Any) -> Bundle:
    """Write the bundle of `backbone` with `options` and linear heads on 100 classes.

    Args:
        target: folder of the bundle.
        backbone: registered name of the backbone.
        image_shape: `(channels, height, width)`.
        options: keyword arguments of the backbone.
    """
    # In a separate process, so that the process that measures has no torch, with its threads and memory, as on a
    # device.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(_write, target, backbone, image_shape, options).result()
    return Bundle.open(target)


def _write(target: Path, backbone: str, image_shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    build_and_write(target, backbone, image_shape, options)  # a model is too large to pass between processes


def build_and_write(
    target: Path, backbone: str, image_shape: tuple[int, int, int], options: dict[str, Any]
) -> MultiExitModel:
    """As `write_random_bundle`, in this process; the network."""
    import torch

    from edgemate.config import Exits, Model
    from edgemate.exporting.composing import prefix_of
    from edgemate.exporting.graphs import export_graphs
    from edgemate.models import build_model, count_costs

    torch.manual_seed(0)
    channels, height, width = image_shape
    model = build_model(Model(backbone=backbone, options=options), Exits(), channels, 100, (height, width))
    graphs: dict[Layout, list[Graph]] = {"segments": [], "prefixes": []}
    with BundleWriter(target) as writer:
        segments = list(export_graphs(model, image_shape, "segments"))
        protos, metadata = [graph.proto for graph in segments], [graph.metadata for graph in segments]
        prefixes = [prefix_of(protos[:exit], metadata[:exit]) for exit in range(1, model.exits + 1)]  # as in an export
        for listed, made in ((graphs["segments"], segments), (graphs["prefixes"], prefixes)):
            for graph in made:
                files.write_bytes(writer.path / graph.metadata.file, graph.proto.SerializeToString())
                listed.append(graph.metadata)
        costs = count_costs(model, image_shape).exits
        writer.finish(
            BundleMetadata(
                name=backbone,
                created=datetime.now(timezone.utc),
                tools={"edgemate": __version__},
                input=InputContract(
                    channels=channels, height=height, width=width, mean=(0.5,) * channels, std=(0.25,) * channels
                ),
                classes=tuple(map(str, range(100))),
                exits=tuple(
                    ExitMetadata(
                        exit=cost.exit,
                        name=cut,
                        macs=cost.macs,
                        chained_macs=cost.chained_macs,
                        parameters=cost.parameters,
                    )
                    for cost, cut in zip(costs, model.cuts, strict=True)
                ),
                graphs={layout: tuple(listed) for layout, listed in graphs.items()},
            )
        )
    return model
