"""The options that say what runs the graphs, how, and what follows where that fails."""

from __future__ import annotations

from typing import Annotated

import typer

BackendName = Annotated[str, typer.Option(help="Backend: onnxruntime, tensorrt, tensorrt_rtx.")]
Threads = Annotated[
    int | None, typer.Option(help="CPU threads; all usable cores if absent. TensorRT has no use for them.")
]
OnFailure = Annotated[str, typer.Option(help="raise, or degrade: answer with an earlier exit where a segment fails.")]
