"""Softened KL and distillation, against loops written from the paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from zoo import batch, seeded, toy

from cohobate.core import Batch, Frozen, Output
from cohobate.methods.distillation import Distillation
from cohobate.methods.kd import KD, softened_kl


def naive(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """A sample and a class at a time, in Python floats."""
    total = 0.0
    for z, v in zip(student.tolist(), teacher.tolist(), strict=True):
        q = [math.exp(a / temperature) for a in z]
        p = [math.exp(a / temperature) for a in v]
        q, p = [a / sum(q) for a in q], [a / sum(p) for a in p]
        total += sum(b * (math.log(b) - math.log(a)) for a, b in zip(q, p, strict=True))
    return total / len(student) * temperature**2


@pytest.mark.parametrize("temperature", [1.0, 3.0, 4.0])
def test_softened_kl_is_the_naive_one(temperature: float) -> None:
    student, teacher = torch.randn(2, 6, 7, dtype=torch.float64)
    value = softened_kl(student, teacher, temperature=temperature)
    assert value.item() == pytest.approx(naive(student, teacher, temperature), rel=1e-12)


def test_gradient() -> None:
    student, teacher = torch.randn(2, 3, 4, dtype=torch.float64)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: softened_kl(s, teacher, temperature=3.0), (student,))
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: softened_kl(s, t, temperature=3.0), (student, teacher))


def test_gradient_is_the_papers_eq_2_times_t_squared() -> None:
    """dC/dz_i = (q_i - p_i) / T for one sample, and T^2 in front."""
    student, teacher = torch.randn(2, 1, 5, dtype=torch.float64)
    student.requires_grad_()
    softened_kl(student, teacher, temperature=4.0).backward()
    expected = 4.0 * ((student / 4).softmax(1) - (teacher / 4).softmax(1))
    torch.testing.assert_close(student.grad, expected.detach())


def test_zero_when_student_equals_teacher() -> None:
    logits = torch.randn(4, 9)
    assert softened_kl(logits, logits.clone(), temperature=4.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [420.0, 1e4])
def test_finite_far_out(size: float) -> None:
    """float32 DKD elsewhere gives NaN once the true class leads by 420; this stays finite."""
    student = torch.tensor([[size, -size, 0.0]], requires_grad=True)
    value = softened_kl(student, torch.tensor([[-size, size, 0.0]]), temperature=4.0)
    value.backward()
    assert student.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_dense_predictions_average_over_positions() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    flat = [t.movedim(1, -1).reshape(-1, 3) for t in (student, teacher)]
    dense = softened_kl(student, teacher, temperature=2.0)
    torch.testing.assert_close(dense, softened_kl(*flat, temperature=2.0))


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = torch.randn(2, 4, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        half = softened_kl(student, teacher, temperature=4.0)
    assert half.dtype == torch.float32
    assert torch.equal(half, softened_kl(student.float(), teacher.float(), temperature=4.0))


def test_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"student logits \(2, 3\) and teacher logits \(2, 4\)"):
        softened_kl(torch.zeros(2, 3), torch.zeros(2, 4), temperature=4.0)


def test_bad_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        KD(temperature=0)


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = (torch.randn(4, 5, requires_grad=True) for _ in range(2))
    loss = KD()(Output(student), Output(teacher), batch(4))
    assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_distillation_weighs_its_terms() -> None:
    """The cross-entropy gets ce_weight, KL its own weight: not the other way round."""
    student, teacher = toy(), toy()
    data = batch()
    method = Distillation(student, teacher, {"kd": KD(weight=0.7, temperature=2.0)}, ce_weight=0.3)
    losses = method(data)
    logits, target = student(data.x).logits, Frozen(teacher)(data.x).logits
    torch.testing.assert_close(losses["ce"], 0.3 * torch.nn.functional.cross_entropy(logits, data.y))
    torch.testing.assert_close(losses["kd"], 0.7 * softened_kl(logits, target, temperature=2.0))


def test_the_teacher_stays_in_evaluation_mode() -> None:
    method = seeded(lambda: Distillation(toy(), toy(), {"kd": KD()}))
    before = {k: v.clone() for k, v in method.teacher.network.state_dict().items()}
    method.train()
    method(batch())
    assert not any(m.training for m in method.teacher.network.modules())
    assert all(torch.equal(before[k], v) for k, v in method.teacher.network.state_dict().items())


def dense(*kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of student and teacher, (1, 3, 2, 2), and which of the four positions are kept."""
    student, teacher = torch.randn(2, 1, 3, 2, 2, dtype=torch.float64)
    mask = torch.zeros(4, dtype=torch.bool)
    mask[list(kept)] = True
    return student.requires_grad_(), teacher, mask.view(1, 2, 2)


def test_the_mean_is_over_the_kept_positions() -> None:
    student, teacher, kept = dense(0, 3)
    rows = [logits.movedim(1, -1).reshape(4, 3)[[0, 3]] for logits in (student.detach(), teacher)]
    value = softened_kl(student, teacher, 3.0, kept)
    assert value.item() == pytest.approx(naive(*rows, 3.0), rel=1e-12)
    assert torch.autograd.gradcheck(lambda s: softened_kl(s, teacher, 3.0, kept), (student,))


@pytest.mark.parametrize("size", [1.0, 1e30, math.inf, math.nan])
def test_a_position_that_is_not_kept_has_a_gradient_of_exactly_zero(size: float) -> None:
    student, teacher, kept = dense(0, 3)
    wild = torch.where(kept.unsqueeze(1), student.detach(), size * torch.randn_like(teacher)).requires_grad_()
    value = softened_kl(wild, torch.where(kept.unsqueeze(1), teacher, size), 3.0, kept)
    value.backward()
    softened_kl(student, teacher, 3.0, kept).backward()
    assert wild.grad is not None
    assert student.grad is not None
    assert torch.equal(wild.grad, student.grad)
    assert not torch.where(kept.unsqueeze(1), 0, wild.grad).any()
    assert torch.where(kept.unsqueeze(1), wild.grad, 1).all()


def test_no_position_kept_gives_zero() -> None:
    student, teacher, kept = dense()
    value = softened_kl(student, teacher, 3.0, kept)
    value.backward()
    assert value.item() == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_all_kept_is_the_plain_mean() -> None:
    student, teacher, kept = dense(0, 1, 2, 3)
    assert torch.equal(softened_kl(student, teacher, 3.0, kept), softened_kl(student, teacher, 3.0))


def test_kd_leaves_out_ignored_pixels_and_no_unlabelled_image() -> None:
    student, teacher, kept = dense(1, 2)
    images = torch.zeros(1, 3, 2, 2)
    term = KD(temperature=3.0)
    masks = Batch((images,), torch.where(kept, 2, -100))
    value = term(Output(student), Output(teacher), masks)
    assert torch.equal(value, softened_kl(student, teacher, 3.0, kept))

    unlabelled = Batch((images.expand(2, -1, -1, -1),), torch.tensor([1, -100]))
    s, t = torch.randn(2, 2, 5)
    assert torch.equal(term(Output(s), Output(t), unlabelled), softened_kl(s, t, 3.0))
