"""Hints, against loops written from the paper; the first phase trains what is below the hint only."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor
from zoo import CLASSES, batch, toy, toy_wide

from cohobate.core import Batch, Frozen, Output
from cohobate.methods.distillation import Distillation
from cohobate.methods.fitnet import FitNet, HintTraining, Regressor, hint_loss, hint_pair


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def output(*stages: Tensor) -> Output:
    return Output(torch.zeros(len(stages[0]), CLASSES, dtype=stages[0].dtype), None, stages)


def naive(student: Tensor, teacher: Tensor) -> float:
    pairs = list(zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True))
    return sum((r - u) ** 2 for r, u in pairs) / len(pairs)


def naive_regressor(x: Tensor, weight: Tensor) -> Tensor:
    """1x1 convolution, batch norm of the batch (scale 1, shift 0) and ReLU, a channel at a time."""
    channels = []
    for row in weight.tolist():
        mixed = torch.stack([w * x[:, i] for i, w in enumerate(row)]).sum(0)
        values = mixed.flatten().tolist()
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        channels.append(((mixed - mean) / math.sqrt(variance + 1e-5)).clamp(min=0))
    return torch.stack(channels, 1)


def term() -> FitNet:
    return FitNet(3, 4).double()


def test_value_and_gradient_are_the_naive_ones() -> None:
    fitnet, student, teacher = term(), maps(2, 3, 2, 2).requires_grad_(), maps(2, 4, 2, 2)
    value = fitnet(output(student), output(teacher), batch(2))
    weight = fitnet.regressor.conv.weight.detach()[:, :, 0, 0]
    assert value.item() == pytest.approx(naive(naive_regressor(student.detach(), weight), teacher), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, student)
    for place in [(0, 0, 0, 0), (1, 2, 1, 0), (0, 1, 1, 1)]:
        step = torch.zeros_like(student)
        step[place] = 1e-6
        moved = [naive(naive_regressor(student.detach() + s, weight), teacher) for s in (step, -step)]
        assert gradient[place].item() == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_gradcheck() -> None:
    fitnet, student, teacher = term(), maps(2, 3, 2, 2).requires_grad_(), maps(2, 4, 2, 2)
    assert torch.autograd.gradcheck(lambda s: hint_loss(s, teacher), (maps(2, 4, 2, 2).requires_grad_(),))
    assert torch.autograd.gradcheck(lambda s: fitnet(output(s), output(teacher), batch(2)), (student,))


def test_zero_when_the_hint_is_met() -> None:
    hint = torch.randn(2, 3, 4, 4)
    assert hint_loss(hint.clone(), hint) == 0


@pytest.mark.parametrize(("count", "middle"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_the_middle_pair_is_the_default(count: int, middle: int) -> None:
    stages = [torch.zeros(1, i + 1, 2, 2) for i in range(count)]
    guided, hint = hint_pair(output(*stages), output(torch.zeros(1, 9, 4, 4), *stages))
    assert guided is stages[middle]
    assert hint is stages[middle]
    assert hint_pair(output(*stages), output(*stages), stage=-1)[0] is stages[-1]


def test_a_stage_that_is_not_there_is_refused() -> None:
    one = output(*(torch.zeros(1, 2, 2, 2) for _ in range(3)))
    with pytest.raises(ValueError, match="have 3 pairs of stages, so stage goes from -3 to 2, got 3"):
        hint_pair(one, one, 3)


@pytest.mark.parametrize(("ours", "theirs"), [(8, 4), (4, 8), (4, 4), (6, 4)])
def test_other_sizes_are_pooled(ours: int, theirs: int) -> None:
    fitnet = term()
    student, teacher = maps(2, 3, ours, ours), maps(2, 4, theirs, theirs)
    small = [torch.nn.functional.adaptive_avg_pool2d(x, 4) for x in (student, teacher)]
    value = fitnet(output(student), output(teacher), batch(2))
    torch.testing.assert_close(value, hint_loss(fitnet.regressor(small[0]), small[1]))


def test_finite_far_out() -> None:
    student = (1e4 * torch.randn(2, 3, 4, 4)).requires_grad_()
    value = FitNet(3, 4)(output(student), output(-1e4 * torch.rand(2, 4, 4, 4)), batch(2))
    value.backward()
    assert student.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = torch.randn(2, 4, 6, 3, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        half = hint_loss(student, teacher)
    assert half.dtype == torch.float32
    assert torch.equal(half, hint_loss(student.float(), teacher.float()))


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 4, 4, 4, requires_grad=True)
    loss = FitNet(3, 4)(output(student), output(teacher), batch(2))
    assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_other_shapes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"student \(2, 3, 4, 4\) and teacher \(2, 1, 4, 4\) differ; regress"
    ):
        hint_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
    with pytest.raises(
        ValueError, match=r"\[3\] and teacher channels \[4\].*\(2, 5, 2, 2\) and \(2, 1, 4, 4\)"
    ):
        FitNet(3, 4)(output(torch.zeros(2, 5, 2, 2)), output(torch.zeros(2, 1, 4, 4)), batch(2))


def test_soft_labels_are_taken() -> None:
    method = Distillation(toy(), Frozen(toy_wide()), {"fitnet": FitNet(8, 32)}, ce_weight=1.0)
    data = batch(4)
    soft = Batch(data.views, torch.full((4, CLASSES), 0.2), data.index, data.progress)
    assert torch.equal(method(soft)["fitnet"], method(data)["fitnet"])


def test_compiled_equals_eager() -> None:
    fitnet = term()
    student, teacher = output(maps(2, 3, 8, 8)), output(maps(2, 4, 4, 4))
    compiled = torch.compile(deepcopy(fitnet), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(student, teacher, batch(2)), fitnet(student, teacher, batch(2)))


def test_the_regressor_learns_the_hint() -> None:
    regressor, x = Regressor(3, 3), torch.randn(8, 3, 4, 4)
    hint = torch.relu(torch.nn.functional.batch_norm(x.flip(1), None, None, training=True))
    optimizer = torch.optim.Adam(regressor.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = hint_loss(regressor(x), hint)
        loss.backward()
        optimizer.step()
    assert loss < 1e-3


def test_the_first_phase_trains_up_to_the_guided_stage() -> None:
    student = toy()
    method = HintTraining(student, toy_wide(), FitNet(8, 32, weight=2.0))
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    data = batch()
    losses = method(data)
    assert losses.keys() == {"hint"}
    outputs = student(data.x), method.teacher(data.x)
    torch.testing.assert_close(losses["hint"], 2.0 * method.term(*outputs, data))
    # Weight decay too must leave alone what is deeper.
    optimizer = torch.optim.SGD(method.groups()["networks"], lr=0.1, weight_decay=0.1)
    losses["hint"].backward()
    optimizer.step()
    resting = {name for name, p in method.named_parameters() if torch.equal(p, before[name])}
    deeper = {name for name in before if name.startswith(("student.stages.2.", "student.fc."))}
    assert resting == deeper
    assert method.rests


def test_the_first_phase_predicts_with_the_student() -> None:
    method = HintTraining(toy(), Frozen(toy_wide()), FitNet(8, 32)).eval()
    x = batch().x
    assert method.predictors().keys() == method.readouts(x).keys() == {"student"}
    torch.testing.assert_close(method.predictors()["student"](x), method.readouts(x)["student"])
