import math
from pathlib import Path

import pytest
import torch
from exit_outputs import SETTING, C, D, K, batch_of, first_class, gradient_to_class_0, log3_logits, make_outputs
from torch import nn
from torch.nn import functional as F

from edgemate.distillation import Progress, Setting
from edgemate.distillation.methods.okddip import OKDDip
from edgemate.models import ExitOutputs
from edgemate.runs import write_tensors

END = Progress(epoch=9, epochs=10, fraction=1.0)
LOG3 = math.log(3)


def two_exits(**options: object) -> tuple[OKDDip, nn.Parameter, list[nn.Parameter]]:
    """Widths 1, L 1; the query is 0, so that the peer looks at all alike; the keys are 1 and 3."""
    method = OKDDip(Setting(2, 2, (1, 1)), temperature=1.0, **options)  # type: ignore[arg-type]
    query, keys = method.queries[0].weight, [key.weight for key in method.keys]
    with torch.no_grad():
        query.zero_()
        for key, value in zip(keys, (1.0, 3.0), strict=False):
            key.fill_(value)
    assert isinstance(query, nn.Parameter)
    return method, query, keys  # type: ignore[return-value]


def test_a_two_exit_example() -> None:
    method, query, keys = two_exits()
    logits = log3_logits(0, 2)  # class 0 has .5 and .9; the peer's teacher, at (½ · 0 + ½ · 2) log 3, .75
    pooled = (torch.ones(1, 1, requires_grad=True), torch.ones(1, 1, requires_grad=True))
    loss = method(ExitOutputs(logits, pooled), first_class(), END)
    assert loss.terms["labels"].item() == pytest.approx(math.log(2) + math.log(10 / 9))
    assert loss.terms["peers"].item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert loss.terms["leader"].item() == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    # To a target t, KL(p_t ‖ p) sends p_t (1 − p_t) times the distance of the two logits.
    as_teacher_of_itself = 0.5 * 0.1875 * LOG3
    as_teacher_of_the_leader = 0.25 * -2 * LOG3
    first = (0.5 - 1) + (0.5 - 0.75) + as_teacher_of_itself + as_teacher_of_the_leader
    second = (0.9 - 1) + (0.9 - 0.5)  # labels and its teacher; nothing for being looked at
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([first, second], abs=1e-6)
    # The weights: what t's .1875 log 3 says of them is 0 and .1875 · 2 log² 3; the softmax takes ½ (own − mean).
    score = 0.5 * 0.1875 * LOG3**2
    assert query.grad is not None
    assert query.grad.item() == pytest.approx(3 * score - 1 * score)
    assert [key.grad.item() for key in keys if key.grad is not None] == [0.0, 0.0]  # the query they meet is 0
    assert pooled[0].grad is not None
    assert pooled[1].grad is None
    assert method.report() == {"peer1_exit1": 0.5, "peer1_exit2": 0.5}


def test_among_peers_alone_the_leader_is_looked_at_by_none() -> None:
    method, _, keys = two_exits(attend="peers")
    logits = log3_logits(0, 2)
    loss = method(ExitOutputs(logits, (torch.ones(1, 1), torch.ones(1, 1))), first_class(), END)
    assert len(keys) == 1
    assert loss.terms["peers"].item() == pytest.approx(0.0, abs=1e-7)  # one peer is its own teacher
    # Labels, and for exit 1 its part as the leader's teacher.
    assert gradient_to_class_0(logits, loss.total) == pytest.approx([-0.5 - 0.5 * LOG3, 0.3], abs=1e-6)


@pytest.mark.parametrize("attend", ["all", "peers"])
def test_the_loss_is_the_formulas(attend: str) -> None:
    torch.manual_seed(0)
    setting = Setting(K, C, (5, 5, 5))
    method = OKDDip(setting, alpha=0.5, width=2, attend=attend, ramp_up=0.5)  # type: ignore[arg-type]
    (logits, pooled, _), labels = make_outputs(1)
    loss = method(ExitOutputs(logits, pooled), batch_of(labels), Progress(2, 10, 0.25))

    def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        p, q = F.softmax(p / 3, -1), F.softmax(q / 3, -1)
        return (p * (p.log() - q.log())).sum(-1).mean()

    seen = range(K if attend == "all" else K - 1)
    total = kl((logits[:, 0] + logits[:, 1]) / 2, logits[:, 2])
    for i in range(K - 1):
        scores = [(method.queries[i](pooled[i]) * method.keys[j](pooled[j])).sum(1) for j in seen]
        weights = F.softmax(torch.stack(scores, 1), 1)
        total = total + kl(sum(weights[:, j : j + 1] * logits[:, j] for j in seen), logits[:, i])  # type: ignore[arg-type]
    expected = sum(F.cross_entropy(logits[:, k], labels) for k in range(K)) + 0.5 * math.exp(-5 / 4) * 9 * total
    torch.testing.assert_close(loss.total, expected)


def test_projections_learn_from_the_peers_teachers_alone() -> None:
    for alpha in (0.0, 1.0):
        torch.manual_seed(0)
        method = OKDDip(SETTING, alpha=alpha)
        outputs, labels = make_outputs(2, requires_grad=True)
        method(outputs, batch_of(labels), END).total.backward()
        own = sum(float(weight.grad.abs().sum()) for weight in method.parameters() if weight.grad is not None)
        assert (own > 0) == (alpha > 0)
        assert outputs.pooled[-1].grad is None


def test_exits_of_different_width_have_projections_of_their_own() -> None:
    method = OKDDip(Setting(3, C, (2, 4, 16)))
    assert [tuple(query.weight.shape) for query in method.queries] == [(2, 2), (2, 4)]
    assert [tuple(key.weight.shape) for key in method.keys] == [(2, 2), (2, 4), (2, 16)]
    assert len(method.report()) == 2 * 3


def test_one_exit_alone_learns_from_labels(tmp_path: Path) -> None:
    outputs, labels = make_outputs(3)
    method = OKDDip(Setting(1, C, (D,)))
    loss = method(ExitOutputs(outputs.logits[:, :1], outputs.pooled[:1]), batch_of(labels), END)
    torch.testing.assert_close(loss.total, F.cross_entropy(outputs.logits[:, 0], labels))
    assert method.report() == {}
    write_tensors(tmp_path / "method.safetensors", method.state_dict())  # empty tensors, as a run would write them
