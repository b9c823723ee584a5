"""MATE's switches: each changes what it says, and nothing else."""

import math
from dataclasses import replace

import pytest
import torch
from exit_outputs import SETTING, START, C, K, N, batch_of, first_class, log3_logits, make_outputs
from torch.nn import functional as F

from edgemate.distillation import Loss, Progress, Setting
from edgemate.distillation.boosting import boosted_logits, boosted_mixing
from edgemate.distillation.methods.mate import MATE
from edgemate.distillation.methods.mate_ensemble import own_exits, primary_teachers
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


def loss_of(method: MATE, seed: int = 0, progress: Progress = START) -> Loss:
    outputs, labels = make_outputs(seed)
    return method(outputs, batch_of(labels), progress)


def scattered(**options: object) -> MATE:
    """MATE whose scores are not the ones that it starts from."""
    method = MATE(SETTING, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        method.scores.add_(torch.randn(method.scores.shape, generator=torch.Generator().manual_seed(1)))
    return method


@pytest.mark.parametrize(
    ("exits", "teachers", "primary", "own"),
    [
        (4, 4, [0, 1, 2, 3], [0, 1, 2, 3]),
        (4, 2, [0, 0, 1, 1], [1, 3]),
        (3, 2, [0, 0, 1], [0, 2]),
        (3, 1, [0, 0, 0], [1]),
        (2, 4, [0, 2], [0, 0, 1, 1]),
        (1, 2, [0], [0, 0]),
    ],
)
def test_exits_and_teachers_meet_by_relative_depth(
    exits: int, teachers: int, primary: list[int], own: list[int]
) -> None:
    assert primary_teachers(exits, teachers) == primary
    assert own_exits(exits, teachers) == own


@pytest.mark.parametrize("teachers", [1, 2, 5])
def test_the_loss_with_more_or_fewer_teachers_than_exits_is_the_formulas(teachers: int) -> None:
    method = scattered(teachers=teachers, alpha=1.0, primary=0.6, proximity=2.0)
    (logits, _, _), labels = make_outputs(4)
    weights = torch.softmax(method.scores.detach(), 1)
    ensembles = torch.einsum("tk,nkc->ntc", weights, logits)

    def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        p, q = F.softmax(p / 3, -1), F.softmax(q / 3, -1)
        return 9 * (p * (p.log() - q.log())).sum(-1).mean()

    total = torch.zeros(())
    for i, first in enumerate(primary_teachers(K, teachers)):
        total = total + F.cross_entropy(logits[:, i], labels)
        for k in range(teachers):
            weight = 1.0 if teachers == 1 else 0.6 if k == first else 0.4 / (teachers - 1)
            total = total + weight * kl(ensembles[:, k], logits[:, i])
    for k, own in enumerate(own_exits(K, teachers)):
        total = total + F.cross_entropy(ensembles[:, k], labels) + 2 * kl(ensembles[:, k], logits[:, own])
    torch.testing.assert_close(loss_of(method, 4).total, total)
    assert method.teachers(logits).shape == (N, teachers, C)
    assert len(method.report()) == teachers * K


def test_reach_keeps_deeper_exits_out_of_a_teacher() -> None:
    method = scattered(reach=1)
    weights = method.weights()
    assert weights[0, 2] == 0
    assert (weights[0, :2] > 0).all()
    assert (weights[1:] > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(K))
    loss_of(method).total.backward()
    assert method.scores.grad is not None
    assert method.scores.grad[0, 2] == 0
    assert method.scores.grad.isfinite().all()


def test_a_reach_over_all_exits_limits_nothing() -> None:
    assert loss_of(scattered(reach=K - 1)).total == loss_of(scattered()).total


def test_reach_0_makes_teacher_1_of_exit_1_alone() -> None:
    (logits, _, _), _ = make_outputs()
    torch.testing.assert_close(scattered(reach=0).teachers(logits)[:, 0], logits[:, 0])


def test_the_last_exit_may_have_a_primary_share_of_its_own() -> None:
    fractions = MATE(SETTING, primary=0.7, primary_last=1.0).fractions
    torch.testing.assert_close(fractions, torch.tensor([[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.0, 0.0, 1.0]]))


def test_the_last_exit_may_learn_less_from_the_teachers_than_the_others() -> None:
    whole, spared, alone = (loss_of(scattered(alpha=a, alpha_last=last)) for a, last in ((2, None), (2, 0), (0, 2)))
    torch.testing.assert_close(whole.terms["teachers"], spared.terms["teachers"] + alone.terms["teachers"])
    (logits, _, _), labels = make_outputs(requires_grad=True)
    method = scattered(alpha=2, alpha_last=0, moves_exits=False)
    method(make_outputs()[0]._replace(logits=logits), batch_of(labels), START).total.backward()
    of_labels = torch.softmax(logits[:, -1].detach(), -1) - F.one_hot(labels, C)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[:, -1], of_labels / N)


def test_an_exit_that_is_left_out_learns_from_what_the_others_say() -> None:
    (logits, _, _), _ = make_outputs(1)
    method = scattered(leave_out=True, alpha=2.0, temperature=3.0, primary=0.6)
    weights, total = method.weights().detach(), torch.zeros(())
    for i in range(K):
        for k in range(K):
            others = [j for j in range(K) if j != i]
            target = sum(weights[k, j] * logits[:, j] for j in others) / sum(weights[k, j] for j in others)
            p, q = F.log_softmax(target / 3, -1), F.log_softmax(logits[:, i] / 3, -1)
            total = total + 2 * (0.6 if i == k else 0.2) * 9 * (p.exp() * (p - q)).sum(-1).mean()
    torch.testing.assert_close(loss_of(method, 1).terms["teachers"], total)


def test_leaving_out_the_only_exit_of_a_teacher_leaves_it_whole() -> None:
    method = MATE(SETTING, leave_out=True, weights="last_exit", alpha=1.0)
    (logits, _, _), labels = make_outputs(requires_grad=True)
    method(make_outputs()[0]._replace(logits=logits), batch_of(labels), START).total.backward()
    of_labels = torch.softmax(logits[:, -1].detach(), -1) - F.one_hot(labels, C)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[:, -1], of_labels / N)


def test_attention_leaves_out_too() -> None:
    torch.testing.assert_close(
        loss_of(scattered(attention=True, leave_out=True)).total, loss_of(scattered(leave_out=True)).total
    )


def test_a_teacher_held_near_the_next_exit_goes_there() -> None:
    outputs, labels = make_outputs(3)
    method = scattered(near="next", proximity=100.0)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    for _ in range(500):
        optimizer.zero_grad()
        method(outputs, batch_of(labels), START).total.backward()
        optimizer.step()
    assert method.weights().argmax(1)[:-1].tolist() == list(range(1, K))
    torch.testing.assert_close(method.weights()[-1], torch.full((K,), 1 / K), rtol=0, atol=0.05)


def test_boosting_is_mate_of_the_sums_and_deploys_them() -> None:
    outputs, labels = make_outputs(2, requires_grad=True)
    method = scattered(boost=0.5)
    loss = method(outputs, batch_of(labels), START)
    sums = [outputs.logits[:, 0]]
    for k in range(1, K):
        sums.append(outputs.logits[:, k] + 0.5 * sums[-1].detach())
    summed = torch.stack(sums, 1)
    plain = scattered()(outputs._replace(logits=summed), batch_of(labels), START)
    torch.testing.assert_close(loss.total, plain.total)
    ours, theirs = (torch.autograd.grad(one.total, outputs.logits, retain_graph=True)[0] for one in (loss, plain))
    torch.testing.assert_close(ours, theirs)
    mixing = method.mixing()
    assert mixing is not None
    torch.testing.assert_close(torch.einsum("kj,njc->nkc", mixing, outputs.logits), summed)


def test_the_teachers_of_boosted_exits_are_made_of_the_sums() -> None:
    method = scattered(boost=0.5)
    logits = make_outputs()[0].logits
    torch.testing.assert_close(method.teachers(logits), scattered().teachers(boosted_logits(logits, 0.5)))


def test_boosting_excludes_another_ensemble() -> None:
    with pytest.raises(UsageError, match=r"boost deploys sums of logits; set exits\.ensemble: none, not learned"):
        MATE(replace(SETTING, ensemble="learned"), boost=0.5)


@pytest.mark.parametrize("boost", [0.0, 0.5])
def test_a_fused_teacher_adds_loths_terms_with_its_own_weight(boost: float) -> None:
    torch.manual_seed(0)
    method = scattered(fusion=2.0, boost=boost, temperature=3.0)
    outputs, labels = make_outputs(5)
    loss, plain = loss_of(method, 5), loss_of(scattered(boost=boost, temperature=3.0), 5)
    assert method.fused is not None
    fused = method.fused(outputs.pooled)[:, 0]
    logits = outputs.logits if not boost else torch.einsum("kj,njc->nkc", boosted_mixing(K, boost), outputs.logits)

    def kl(target: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        p, q = F.log_softmax(target / 3, -1), F.log_softmax(given / 3, -1)
        return 9 * (p.exp() * (p - q)).sum(-1).mean()

    torch.testing.assert_close(loss.terms["fusion"], 2 * sum(kl(fused, logits[:, i]) for i in range(K)))
    torch.testing.assert_close(loss.terms["fusion_labels"], F.cross_entropy(fused, labels))
    torch.testing.assert_close(loss.terms["fusion_ensemble"], kl(logits.mean(1), fused))
    torch.testing.assert_close(loss.total, sum(loss.terms.values()))
    torch.testing.assert_close(
        loss.total - plain.total, sum(loss.terms[name] for name in loss.terms if "fusion" in name)
    )


def test_a_fused_teacher_trains_the_features_it_reads_and_is_a_constant_to_its_students() -> None:
    torch.manual_seed(0)
    outputs, labels = make_outputs(2, requires_grad=True)
    method = scattered(fusion=2.0)
    assert method.fused is not None
    method(outputs, batch_of(labels), START).total.backward()
    found = [feature.grad for feature in outputs.pooled]

    again, _ = make_outputs(2, requires_grad=True)
    fused = method.fused(again.pooled)
    p, q = (F.log_softmax(one / 3, -1) for one in (again.logits.detach().mean(1, keepdim=True), fused))
    (F.cross_entropy(fused[:, 0], labels) + 9 * (p.exp() * (p - q)).sum(-1).mean()).backward()
    for one, feature in zip(found, again.pooled, strict=True):
        torch.testing.assert_close(one, feature.grad)


def test_no_weight_builds_no_fused_teacher() -> None:
    assert not [name for name in MATE(SETTING).state_dict() if "fused" in name]


def test_the_ramp_raises_the_teachers_term_alone() -> None:
    method, plain = scattered(ramp_up=0.5), loss_of(scattered())
    for fraction, factor in ((0.0, math.exp(-5)), (0.25, math.exp(-1.25)), (0.5, 1.0), (0.9, 1.0)):
        loss = loss_of(method, progress=Progress(0, 10, fraction))
        torch.testing.assert_close(loss.terms["teachers"], factor * plain.terms["teachers"])
        for name in ("labels", "teacher_labels", "teacher_gap"):
            assert loss.terms[name] == plain.terms[name]


def test_weights_that_train_have_a_rate_of_their_own() -> None:
    method = scattered(teacher_lr=0.02)
    assert method.learning_rates() == {method.scores: 0.02}
    assert MATE(SETTING, weights="uniform").learning_rates() == {}


def test_attention_begins_with_the_weights_that_it_has_without() -> None:
    torch.testing.assert_close(loss_of(scattered(attention=True)).total, loss_of(scattered()).total)


def test_attention_learns_from_the_teachers_own_term_and_reaches_no_exit() -> None:
    """The exits' logits and features get the gradient that they get from the same teachers as constants."""
    torch.manual_seed(0)
    method = scattered(attention=True, alpha=5.0)
    assert method.attention is not None
    outputs, labels = make_outputs(2, requires_grad=True)
    method(outputs, batch_of(labels), START).total.backward()
    assert all(feature.grad is None for feature in outputs.pooled)
    queries = [query.weight.grad for query in method.attention.queries]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in queries)

    unattended = scattered(alpha=5.0)
    again, _ = make_outputs(2, requires_grad=True)
    unattended(again, batch_of(labels), START).total.backward()
    torch.testing.assert_close(outputs.logits.grad, again.logits.grad)
    torch.testing.assert_close(method.scores.grad, unattended.scores.grad)


def test_attended_weights_differ_by_image_and_their_mean_is_reported() -> None:
    torch.manual_seed(0)
    method = MATE(SETTING, attention=True, reach=1)
    optimizer = torch.optim.SGD(method.parameters(), lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(method, 3).total.backward()
        optimizer.step()
    loss_of(method, 3)
    weights = method._batch_weights(make_outputs(3)[0].pooled).detach()
    assert weights.shape == (N, K, K)
    assert weights.std(0)[1:].min() > 0
    assert (weights[:, 0, 2] == 0).all()
    torch.testing.assert_close(method.weights(), weights.mean(0))
    assert method.report()["teacher2_exit3"] == pytest.approx(float(weights[:, 1, 2].mean()))
    stored = MATE(SETTING, attention=True, reach=1)
    stored.load_state_dict(method.state_dict())
    torch.testing.assert_close(stored.weights(), method.weights())
    assert loss_of(stored, 3).total == loss_of(method, 3).total


def test_attention_reads_features_of_any_widths() -> None:
    method = MATE(Setting(2, C, (3, 7)), attention=True, teachers=3)
    (logits, _, _), labels = make_outputs()
    outputs = make_outputs()[0]._replace(logits=logits[:, :2], pooled=(torch.rand(N, 3), torch.rand(N, 7)))
    assert method(outputs, batch_of(labels), START).total.isfinite()


def test_teachers_may_move_the_exits_by_their_cross_entropy_and_by_nothing_else() -> None:
    gradients = []
    for moves in (False, True):
        outputs, labels = make_outputs(4, requires_grad=True)
        method = MATE(SETTING, moves_exits=moves)
        method(outputs, batch_of(labels), START).total.backward()
        assert outputs.logits.grad is not None
        assert method.scores.grad is not None
        gradients.append((outputs.logits.grad, method.scores.grad))
    (alone, scores), (moved, same_scores) = gradients
    torch.testing.assert_close(same_scores, scores)

    outputs, labels = make_outputs(4, requires_grad=True)
    teachers = torch.einsum("tk,nkc->ntc", MATE(SETTING).weights().detach(), outputs.logits)
    torch.stack([F.cross_entropy(teachers[:, k], labels) for k in range(K)]).sum().backward()
    torch.testing.assert_close(moved - alone, outputs.logits.grad)


@pytest.mark.parametrize("option", [{"attention": True}, {"reach": 1}])
def test_what_limits_or_attends_weights_is_refused_beside_frozen_ones(option: dict[str, bool | int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(option))} belongs to learned weights"):
        MATE(SETTING, weights="last_exit", **option)  # type: ignore[arg-type]


def test_a_check_allocates_nothing() -> None:
    with torch.device("meta"):
        method = MATE(SETTING, attention=True, reach=1, teachers=2)
    assert all(tensor.is_meta for tensor in method.state_dict().values())


def test_a_growing_temperature_starts_at_its_value_and_is_in_every_term() -> None:
    growing, fixed = scattered(growth=2.0, temperature=1.5), scattered(temperature=1.5)
    torch.testing.assert_close(loss_of(growing).terms, loss_of(fixed).terms)
    hotter = scattered(temperature=3.0)
    assert growing.grown is not None
    growing.grown.fill_(3.0)
    torch.testing.assert_close(loss_of(growing).terms, loss_of(hotter).terms)


def test_the_temperature_grows_after_batches_whose_teachers_are_too_sure_and_never_in_evaluation() -> None:
    setting = Setting(exits=2, classes=2, pooled_widths=(1, 1))
    method = MATE(setting, temperature=1.0, growth=1.05)
    sure, unsure = ExitOutputs(log3_logits(2, 2), ()), ExitOutputs(log3_logits(0, 0), ())
    seen = []
    for outputs in (sure, unsure, sure):
        method(outputs, first_class(), START).total.backward()
        seen.append(method.report()["temperature"])
    assert seen == pytest.approx([1.05, 1.05, 1.05**2])
    method.eval()
    method(sure, first_class(), START)
    assert method.report()["temperature"] == pytest.approx(1.05**2)


def test_only_a_temperature_that_grows_is_state_and_travels_with_it() -> None:
    assert list(MATE(SETTING).state_dict()) == ["scores"]
    assert not MATE(SETTING).keeps_state
    method, resumed = MATE(SETTING, growth=1.05), MATE(SETTING, growth=1.05)
    assert method.keeps_state
    assert method.grown is not None
    method.grown.fill_(7.0)
    resumed.load_state_dict(method.state_dict())
    assert resumed.report()["temperature"] == 7.0


def test_a_temperature_that_starts_above_its_limit_is_never_lowered() -> None:
    method = MATE(Setting(exits=2, classes=2, pooled_widths=(1, 1)), temperature=200, growth=1.05)
    method(ExitOutputs(log3_logits(2000, 2000), ()), first_class(), START)
    assert method.report()["temperature"] == 200
