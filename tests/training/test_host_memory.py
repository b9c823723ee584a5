from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from edgemate.training import host_memory
from edgemate.training.host_memory import freed_memory_kept

CPU = torch.device("cpu")

# In a process of its own: what others have freed before must not be there to take.
FAULTS = """
import resource

import torch

from edgemate.training.host_memory import freed_memory_kept

torch.set_num_threads(1)
layers = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Conv2d(8, 8, 1), torch.nn.ReLU()) for _ in range(4)])
images = torch.ones(8, 8, 512, 512)  # 64 MiB


def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def usual():
    return min(faults_of_a_step() for _ in range(3))


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


before = usual()
with freed_memory_kept(torch.device("cpu")) as kept:
    assert kept
    within = usual()
    held = resident()
assert before > 1000
assert within < before / 3, (before, within)  # how much less depends on where the heap was before
assert resident() < held - (128 << 20)  # the free memory is given back
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a switch of glibc")
def test_a_step_takes_the_memory_that_the_last_one_freed() -> None:
    subprocess.run([sys.executable, "-c", FAULTS], check=True, timeout=120)


def test_for_a_gpu_and_with_other_libraries_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    with freed_memory_kept(torch.device("cuda")) as kept:
        assert not kept
    monkeypatch.setattr(host_memory, "_function", lambda name: None)
    with freed_memory_kept(CPU) as kept:
        assert not kept
