from __future__ import annotations

import numpy as np
import torch

from edgemate.evaluation import trained_model
from edgemate.profiling.pytorch_latency import pytorch_latency
from edgemate.runs import Run


def test_every_exit_is_timed_with_the_given_threads(finished_run: Run) -> None:
    model = trained_model(finished_run)
    threads: list[int] = []
    model.heads[0].register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    found = pytorch_latency(model, np.zeros((1, 1, 8, 8), np.float32), threads=1, repeats=3)
    assert len(found) == 3
    assert all(latency.p50 > 0 and latency.repeats == 3 for latency in found)
    assert set(threads) == {1}
    assert torch.get_num_threads() == before
