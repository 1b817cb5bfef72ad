"""Standardised logits against a loop written from the paper, around every term of logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from zoo import batch, toy, toy_wide

from cohobate.core import Batch, Frozen, Output, Term
from cohobate.methods.dist import DIST
from cohobate.methods.distillation import Distillation
from cohobate.methods.dkd import DKD
from cohobate.methods.kd import KD, softened_kl
from cohobate.methods.logit_standardisation import Standardised, standardise


class Features(Term):
    """Needs more of the teacher than its logits."""


def logits(images: int = 5, classes: int = 4) -> Tensor:
    return torch.randn(2, images, classes, dtype=torch.float64) * 3 + 1


def naive(logits: Tensor, correction: int) -> Tensor:
    rows = []
    for z in logits:
        mean = sum(z) / len(z)
        sigma = (sum((a - mean) ** 2 for a in z) / (len(z) - correction)) ** 0.5
        rows.append(torch.stack([(a - mean) / sigma for a in z]))
    return torch.stack(rows)


@pytest.mark.parametrize("correction", [0, 1])
def test_standardise_is_the_naive_one(correction: int) -> None:
    student, weights = logits()
    student.requires_grad_()
    values = standardise(student, correction), naive(student, correction)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad((weights * v).sum(), student)[0] for v in values))


def test_gradient() -> None:
    student, _ = logits(3)
    assert torch.autograd.gradcheck(standardise, (student.requires_grad_(),))


def test_mean_0_and_deviation_1() -> None:
    z = standardise(100 * torch.randn(8, 50) + 30)
    torch.testing.assert_close(z.mean(1), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(1), torch.ones(8))
    torch.testing.assert_close(standardise(z, correction=0).std(1, correction=0), torch.ones(8))


def test_kd_on_standardised_logits() -> None:
    student, teacher = logits()
    value = Standardised(KD(temperature=2.0))(Output(student), Output(teacher), batch(5))
    torch.testing.assert_close(value, softened_kl(naive(student, 1), naive(teacher, 1), 2.0))


def test_a_student_of_another_range_costs_nothing() -> None:
    """The point of the paper: a teacher's relations at another scale and offset are the teacher's."""
    _, teacher = logits()
    given = Output(0.2 * teacher - 5), Output(teacher), Batch((teacher,), torch.zeros(5, dtype=torch.long))
    for term in (KD(temperature=2.0), DKD(ramp=0), DIST()):
        assert term(*given).item() > 1e-2
        assert Standardised(term)(*given).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("size", [1e4, 1e10])
def test_finite_far_out(size: float) -> None:
    student = torch.tensor([[size, -size, 0.0], [-size, size, size]], requires_grad=True)
    teacher = Output(torch.tensor([[-size, size, 0.0], [size, -size, size]]))
    data = Batch((student,), torch.tensor([0, 1]))
    for term in (KD(), DKD(ramp=0), DIST()):
        value = Standardised(term)(Output(student), teacher, data)
        (gradient,) = torch.autograd.grad(value, student)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("value", [0.0, 0.37, -1e4])
def test_constant_logits_become_0_without_a_gradient(value: float) -> None:
    student = torch.full((4, 100), value, requires_grad=True)
    z = standardise(student)
    assert not z.any()
    (z * torch.randn(4, 100)).sum().backward()
    assert student.grad is not None
    assert not student.grad.any()


def test_every_position_of_a_dense_prediction_on_its_own() -> None:
    dense = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    flat = dense.movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(standardise(dense).movedim(1, -1).reshape(-1, 3), standardise(flat))


def test_half_precision_is_computed_in_float32() -> None:
    student, _ = logits().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        half = standardise(student)
    assert half.dtype == torch.float32
    assert torch.equal(half, standardise(student.float()))


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = (x.requires_grad_() for x in logits().unbind())
    loss = Standardised(KD())(Output(student), Output(teacher), batch(5))
    assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_labels_are_the_wrapped_terms_matter() -> None:
    student, teacher = logits()
    given = (
        Output(student),
        Output(teacher),
        Batch((student,), teacher.softmax(1), progress=torch.tensor(1.0)),
    )
    assert torch.isfinite(Standardised(KD())(*given))
    with pytest.raises(ValueError, match="DKD needs integer labels"):
        Standardised(DKD())(*given)


def test_a_term_of_features_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Standardised wraps a term of logits, got Features.*KD, DKD, DIST"):
        Standardised(Features())


def test_other_corrections_are_refused() -> None:
    with pytest.raises(ValueError, match="correction must be one of 0, 1, got 2"):
        Standardised(KD(), correction=2)


def test_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"student logits \(2, 3\) and teacher logits \(2, 4\)"):
        Standardised(KD())(Output(torch.randn(2, 3)), Output(torch.randn(2, 4)), batch(2))


def test_the_weight_is_the_wrapped_terms_and_the_cross_entropy_sees_plain_logits() -> None:
    student, teacher, data = toy(), toy_wide(), batch()
    term = Standardised(KD(weight=9.0, temperature=2.0))
    losses = Distillation(student, teacher, {"kd": term}, ce_weight=0.1)(data)
    z, target = student(data.x).logits, Frozen(teacher)(data.x).logits
    torch.testing.assert_close(losses["ce"], 0.1 * torch.nn.functional.cross_entropy(z, data.y))
    torch.testing.assert_close(losses["kd"], 9 * softened_kl(standardise(z), standardise(target), 2.0))


def test_compiled_equals_eager() -> None:
    student, teacher = logits(16, 5)
    student.requires_grad_()
    term, data = Standardised(KD()), batch(16, torch.float64)
    compiled = torch.compile(term, backend="aot_eager", fullgraph=True, dynamic=False)
    losses = [f(Output(student), Output(teacher), data) for f in (term, compiled)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in losses))
