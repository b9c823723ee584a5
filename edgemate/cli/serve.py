"""`edgemate serve`: a bundle → answers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.backend_options import BackendName, Threads
from edgemate.cli.screen import say
from edgemate.cli.trust import TrustedKeys, TrustEngines
from edgemate.errors import UsageError
from edgemate.stopping import interruptible


def serve(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen at; the default can be reached from this machine only.")
    ] = "127.0.0.1",
    policy: Annotated[
        str | None,
        typer.Option(help="Operating point of requests that choose none; the whole network if absent."),
    ] = None,
    policies: Annotated[
        str | None,
        typer.Option(
            help="Operating points that a request may choose, comma-separated; all of the bundle's if absent."
        ),
    ] = None,
    deadline_ms: Annotated[
        float | None,
        typer.Option(help="From a request's arrival to its answer; also the most that a request may choose."),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            help="Images at a time, and the most in one request; if absent 8, or as many as the engines take.",
            show_default=False,
        ),
    ] = None,
    max_wait_ms: Annotated[float, typer.Option(help="How long the first image of a batch waits for others.")] = 2.0,
    max_queue: Annotated[int, typer.Option(help="Images accepted and not yet answered; beyond them status 503.")] = 128,
    timeout_s: Annotated[
        float, typer.Option(help="Seconds for a request's head, its body, and its answer to be taken.")
    ] = 20.0,
    backend: BackendName = "onnxruntime",
    threads: Threads = None,
    trusted_keys: TrustedKeys = None,
    trust_engines: TrustEngines = False,
    on_failure: Annotated[
        str, typer.Option(help="degrade: answer with an earlier exit where a segment fails; or raise: status 500.")
    ] = "degrade",
) -> None:
    """Answer requests over HTTP by the Open Inference Protocol (KServe v2), with /metrics for Prometheus.

    There is no encryption and no password: who can reach the port can ask. SIGTERM or Ctrl-C ends it, after what it has
    accepted is answered.
    """
    from edgemate import api

    named = None if policies is None else [name.strip() for name in policies.split(",") if name.strip()]
    if named == []:
        raise UsageError("policies: names no operating point; leave it out for all of the bundle's")

    def ready(address: str, number: int) -> None:
        shown = f"[{address}]" if ":" in address else address
        say(f"serving at http://{shown}:{number}")

    with interruptible():
        api.serve(
            bundle,
            host=host,
            port=port,
            policy=policy,
            policies=named,
            deadline_ms=deadline_ms,
            max_batch=max_batch,
            max_wait_ms=max_wait_ms,
            max_queue=max_queue,
            timeout_s=timeout_s,
            backend=backend,
            threads=threads,
            trusted_keys=trusted_keys,
            trust_engines=trust_engines,
            on_failure=on_failure,  # type: ignore[arg-type]  # which is checked there
            ready=ready,
            report=lambda line: say(line, err=True),
        )
