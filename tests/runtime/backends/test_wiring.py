from __future__ import annotations

from bundles import write_graphs
from small_network import SEGMENTS

from edgemate.bundle import Graph, Tensor
from edgemate.runtime.backends.wiring import Step, wire


def graph(exit: int, takes: str, gives: str) -> Graph:
    return Graph(
        exit=exit,
        file=f"{exit}.onnx",
        inputs=[Tensor(name=name, shape=("batch", 2)) for name in takes.split()],
        outputs=[Tensor(name=name, shape=("batch", 2)) for name in gives.split()],
    )


def test_a_chain_keeps_only_the_features_between_two_segments(tmp_path) -> None:
    steps = wire(write_graphs(tmp_path).graphs["segments"])
    assert [step.takes for step in steps] == [takes for takes, _ in SEGMENTS]
    assert steps[0] == Step(("image",), ("logits_1", "fine", "coarse"), ("image", "logits_1"))
    assert steps[2] == Step(("features_2",), ("logits_3",), ("features_2", "logits_3"))


def test_tensors_are_kept_for_as_long_as_a_later_segment_takes_them() -> None:
    steps = wire(
        [
            graph(1, "image", "near far logits_1"),
            graph(2, "near image", "logits_2 unused"),
            graph(3, "far logits_1 logits_2", "logits_3"),
        ]
    )
    assert [step.done for step in steps] == [(), ("image", "near"), ("far", "logits_1", "logits_2", "logits_3")]
    assert steps[1].gives == ("logits_2",)
