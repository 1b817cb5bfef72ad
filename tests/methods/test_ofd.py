"""Overhaul of feature distillation, against loops written from the paper and integrals."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn
from zoo import CLASSES, batch, toy, toy_adapted, toy_wide

from cohobate.core import Batch, Frozen, Output
from cohobate.methods.distillation import Distillation
from cohobate.methods.ofd import OFD, margin, margin_relu, partial_l2


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def output(*preacts: Tensor) -> Output:
    logits = torch.zeros(len(preacts[0]), CLASSES, dtype=preacts[0].dtype)
    return Output(logits, None, tuple(p.relu() for p in preacts), preacts)


def naive_partial_l2(student: Tensor, target: Tensor) -> float:
    total = 0.0
    for s, t in zip(student.flatten().tolist(), target.flatten().tolist(), strict=True):
        if not (s <= t <= 0):
            total += (s - t) ** 2
    return total / len(student)


# ---------------------------------------------------------------- margin


def integrated(mu: float, sigma: float) -> float:
    """E[x | x < 0] of a normal x, its density divided by that at 0."""

    def density(x: float) -> float:
        return math.exp((mu**2 - (x - mu) ** 2) / (2 * sigma**2))

    # Beyond, nothing is left of it.
    decay = min(sigma, sigma**2 / mu) if mu > 0 else sigma
    low = min(mu, 0) - 40 * decay
    points = [p for p in (mu, -decay, -5 * decay) if low < p < 0]
    above = quad(lambda x: x * density(x), low, 0, points=points)[0]
    return float(above / quad(density, low, 0, points=points)[0])


@pytest.mark.parametrize("mu", [-3.0, -0.5, 0.0, 0.2, 1.0, 3.0])
@pytest.mark.parametrize("sigma", [0.15, 1.0, -2.0])
def test_margin_is_the_expected_negative_value(mu: float, sigma: float) -> None:
    value = margin(torch.tensor([sigma]).double(), torch.tensor([mu]).double()).item()
    assert value == pytest.approx(integrated(mu, abs(sigma)), rel=1e-7)


def test_margin_of_a_sample() -> None:
    x = 0.5 + 0.8 * torch.randn(400_000, dtype=torch.float64)
    value = margin(torch.tensor([0.8]), torch.tensor([0.5]))
    assert value.item() == pytest.approx(x[x < 0].mean().item(), rel=0.01)


def test_margin_needs_no_fallback() -> None:
    """Far from 0 it tends to -sigma^2 / mu (where public code gives up), or to mu."""
    far = margin(torch.ones(3), torch.tensor([10.0, 1e3, 1e4]))
    torch.testing.assert_close(
        far, torch.tensor([-(1 / 10 - 2 / 1e3 + 10 / 1e5), -1e-3, -1e-4]), rtol=1e-2, atol=0
    )
    torch.testing.assert_close(
        margin(torch.ones(2), torch.tensor([-50.0, -1e4])), torch.tensor([-50.0, -1e4])
    )
    for size in (1e-6, 1e-2, 1.0, 1e4):
        m = margin(size * torch.rand(1000), 1e4 * torch.randn(1000))
        assert torch.isfinite(m).all()
        assert (m <= 0).all()


def test_margin_of_a_channel_that_never_varies() -> None:
    value = margin(torch.zeros(3), torch.tensor([-2.0, 0.0, 2.0]))
    torch.testing.assert_close(value, torch.tensor([-2.0, 0.0, 0.0]))


def test_margin_relu() -> None:
    x, m = maps(2, 3, 4, 4), torch.tensor([-0.5, -0.1, 0.0]).double()
    expected = torch.stack([x[:, i].clamp(min=m[i].item()) for i in range(3)], 1)
    assert torch.equal(margin_relu(x, m), expected)


# ---------------------------------------------------------------- distance


def test_partial_l2_is_the_naive_one() -> None:
    student, target = maps(2, 3, 4, 5, 5).requires_grad_()
    value = partial_l2(student, target)
    assert value.item() == pytest.approx(naive_partial_l2(student, target), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, student)
    expected = [
        0.0 if s <= t <= 0 else 2 * (s - t) / 3
        for s, t in zip(student.flatten().tolist(), target.flatten().tolist(), strict=True)
    ]
    torch.testing.assert_close(gradient.flatten(), torch.tensor(expected).double())


def test_gradcheck() -> None:
    student, target = maps(2, 2, 3, 2, 2)
    assert torch.autograd.gradcheck(lambda s: partial_l2(s, target), (student.requires_grad_(),))
    term, teacher = ofd(), output(maps(2, 4, 4, 4), maps(2, 5, 2, 2))
    inputs = maps(2, 2, 2, 2).requires_grad_(), maps(2, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda *s: term(output(*s), teacher, batch(2)), inputs)


def test_what_the_relu_removes_is_free() -> None:
    target = -torch.rand(2, 3, 4, 4)
    assert partial_l2(target - torch.rand_like(target), target) == 0
    assert partial_l2(target.clone(), target) == 0
    assert partial_l2(target + 0.1, target) > 0
    assert partial_l2(-target - 0.1, -target) > 0


def ofd() -> OFD:
    margins = [torch.tensor([-0.3, -0.2, -0.1, 0.0]), torch.full((5,), -0.4)]
    return OFD([2, 3], [4, 5], margins).double()


def naive_connector(x: Tensor, weight: Tensor) -> Tensor:
    channels = []
    for row in weight[:, :, 0, 0].tolist():
        mixed = torch.stack([w * x[:, i] for i, w in enumerate(row)]).sum(0)
        mean, variance = mixed.mean(), ((mixed - mixed.mean()) ** 2).mean()
        channels.append((mixed - mean) / torch.sqrt(variance + 1e-5))
    return torch.stack(channels, 1)


def test_the_deepest_stage_counts_most() -> None:
    term = ofd()
    student = maps(2, 2, 4, 4), maps(2, 3, 2, 2)
    teacher = maps(2, 9, 8, 8), maps(2, 4, 4, 4), maps(2, 5, 2, 2)
    expected = 0.0
    for i, share in enumerate((1 / 2, 1.0)):
        m = torch.tensor([[-0.3, -0.2, -0.1, 0.0], [-0.4] * 5][i]).double()
        target = torch.maximum(teacher[i + 1], m.view(1, -1, 1, 1))
        weight = term.connectors[i].conv.weight.detach()
        expected += share * naive_partial_l2(naive_connector(student[i], weight), target)
    value = term(output(*student), output(*teacher), batch(2))
    # The margins were float32.
    assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), [(8, 4), (4, 8)])
def test_other_sizes_are_pooled(ours: int, theirs: int) -> None:
    term = OFD([2], [4], [torch.full((4,), -0.2)]).double()
    student, teacher = maps(2, 2, ours, ours), maps(2, 4, theirs, theirs)
    small = [torch.nn.functional.adaptive_avg_pool2d(x, 4) for x in (student, teacher)]
    value = term(output(student), output(teacher), batch(2))
    torch.testing.assert_close(value, term(output(small[0]), output(small[1]), batch(2)))


def test_finite_far_out() -> None:
    student = (1e4 * torch.randn(2, 2, 4, 4)).requires_grad_()
    term = OFD([2], [4], [margin(torch.ones(4), torch.tensor([1e4, -1e4, 0.0, 1.0]))])
    value = term(output(student), output(1e4 * torch.randn(2, 4, 4, 4)), batch(2))
    value.backward()
    assert student.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_half_precision_is_computed_in_float32() -> None:
    student, target = torch.randn(2, 4, 6, 3, 3).bfloat16()
    m = -torch.rand(6)
    with torch.autocast("cpu", torch.bfloat16):
        half = partial_l2(student, margin_relu(target, m))
    assert half.dtype == torch.float32
    assert torch.equal(half, partial_l2(student.float(), margin_relu(target.float(), m)))


def test_no_gradient_enters_the_teacher() -> None:
    teacher = torch.randn(2, 4, 4, 4, requires_grad=True)
    weight = torch.ones(4, requires_grad=True)
    term = OFD([2], [4], [margin(weight, torch.zeros(4))])
    loss = term(output(torch.randn(2, 2, 4, 4)), output(teacher), batch(2))
    assert torch.autograd.grad(loss, (teacher, weight), allow_unused=True) == (None, None)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"student \(2, 3, 4, 4\) and teacher \(2, 1, 4, 4\) differ; transform"
    ):
        partial_l2(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"channels \[2, 3\] .* \[4, 5\].*\(2, 2, 4, 4\) and \(2, 4, 4, 4\)"):
        ofd()(output(maps(2, 2, 4, 4)), output(maps(2, 4, 4, 4)), batch(2))
    with pytest.raises(ValueError, match=r"got \[2\], \[4\] and margins of \[3\]"):
        OFD([2], [4], [torch.zeros(3)])


def test_networks_that_hide_their_preacts_are_refused() -> None:
    term = OFD([4, 8], [4, 8], [torch.zeros(4), torch.zeros(8)])
    x = batch(2).x
    with pytest.raises(ValueError, match=r"which the teacher does not give; an adapted network gives them"):
        term(toy()(x), toy_adapted()(x), batch(2))


def distillation() -> Distillation:
    teacher = toy_wide()
    for norm in [m for m in teacher.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.momentum = 0.9
    margins = [-torch.rand(c) for c in (16, 32, 64)]
    return Distillation(toy(), Frozen(teacher), {"ofd": OFD([8, 8, 8], [16, 32, 64], margins)}, ce_weight=1.0)


def test_the_teachers_statistics_never_move() -> None:
    """Another library leaves the teacher in training mode, and its batch norms drift."""
    method = distillation().train()
    before = deepcopy(method.teacher.network.state_dict())
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for _ in range(3):
        sum(method(batch()).values()).backward()
        optimizer.step()
    after = method.teacher.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_soft_labels_are_taken() -> None:
    method, data = distillation(), batch(4)
    soft = Batch(data.views, torch.full((4, CLASSES), 0.2), data.index, data.progress)
    assert torch.equal(method(soft)["ofd"], method(data)["ofd"])


def test_margins_are_saved_and_do_not_learn() -> None:
    term = ofd()
    assert {"margins.0.margins", "margins.1.margins"} <= term.state_dict().keys()
    assert not any("margins" in name for name, _ in term.named_parameters())


def test_compiled_equals_eager() -> None:
    term = ofd()
    student, teacher = output(maps(2, 2, 4, 4), maps(2, 3, 4, 4)), output(maps(2, 4, 4, 4), maps(2, 5, 2, 2))
    compiled = torch.compile(deepcopy(term), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(student, teacher, batch(2)), term(student, teacher, batch(2)))
