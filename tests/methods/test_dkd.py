"""DKD against loops written from the paper, and far out where float32 elsewhere gives NaN."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor
from zoo import batch

from cohobate.core import IGNORED, Batch, Output
from cohobate.methods.dkd import DKD, non_target_kl, target_kl
from cohobate.methods.kd import softened_kl

Parts = tuple[Tensor, Tensor]


def logits(images: int = 5, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    student, teacher = torch.randn(2, images, classes, dtype=torch.float64) * 3
    return student, teacher, torch.arange(images) % classes


def naive(student: Tensor, teacher: Tensor, ids: Tensor, temperature: float) -> Parts:
    """TCKD and NCKD, an image and a class at a time, on probabilities as the paper prints them."""
    target, others = torch.zeros((), dtype=student.dtype), torch.zeros((), dtype=student.dtype)
    for z_s, z_t, true in zip(student, teacher, ids.tolist(), strict=True):
        q, p = [z.div(temperature).exp() / z.div(temperature).exp().sum() for z in (z_s, z_t)]
        target = target + p[true] * (p[true] / q[true]).log()
        target = target + (1 - p[true]) * ((1 - p[true]) / (1 - q[true])).log()
        for i in range(len(q)):
            if i != true:
                q_hat, p_hat = q[i] / (1 - q[true]), p[i] / (1 - p[true])
                others = others + p_hat * (p_hat / q_hat).log()
    return target / len(ids) * temperature**2, others / len(ids) * temperature**2


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_parts_are_the_naive_ones(temperature: float) -> None:
    student, teacher, ids = logits()
    student.requires_grad_()
    for part, expected in zip(
        (target_kl, non_target_kl), naive(student, teacher, ids, temperature), strict=True
    ):
        value = part(student, teacher, ids, temperature)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(
            *(torch.autograd.grad(v, student, retain_graph=True)[0] for v in (value, expected))
        )


@pytest.mark.parametrize("part", [target_kl, non_target_kl])
def test_gradient(part) -> None:
    student, teacher, ids = logits(3)
    ids[1] = IGNORED
    both = (student.requires_grad_(), teacher.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: part(s, t, ids, 2.0), both)


def test_kd_is_tckd_and_the_teachers_doubt_times_nckd() -> None:
    """Eq. 6: per image, KD = TCKD + (1 - p_t) NCKD."""
    student, teacher, ids = logits()
    for s, t, true in zip(student.split(1), teacher.split(1), ids.split(1), strict=True):
        doubt = 1 - (t / 4).softmax(1)[0, true]
        decoupled = target_kl(s, t, true, 4.0) + doubt * non_target_kl(s, t, true, 4.0)
        torch.testing.assert_close(decoupled, softened_kl(s, t, 4.0).reshape(1))


def test_alpha_beta_and_the_rise_weigh_the_parts() -> None:
    student, teacher, ids = logits()
    term = DKD(alpha=0.5, beta=3.0, temperature=2.0, ramp=0.25)
    parts = [part(student, teacher, ids, 2.0) for part in (target_kl, non_target_kl)]
    for progress, ramp in ((0.0, 0.0), (0.125, 0.5), (0.25, 1.0), (1.0, 1.0)):
        given = Batch((student,), ids, progress=torch.tensor(progress))
        value = term(Output(student), Output(teacher), given)
        torch.testing.assert_close(value, ramp * (0.5 * parts[0] + 3 * parts[1]))


def test_zero_when_student_equals_teacher() -> None:
    student, _, ids = logits()
    for part in (target_kl, non_target_kl):
        assert part(student.float(), student.float(), ids, 4.0).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [420.0, 345.0, 1e4, 1e5, 1e30])
def test_finite_far_out(size: float) -> None:
    """Every sign of the true and of another class, in student and teacher alike."""
    ids = torch.tensor([0])
    for signs in product((-1.0, 0.0, 1.0), repeat=4):
        student = torch.tensor([[signs[0] * size, signs[1] * size, 0.5]], requires_grad=True)
        teacher = torch.tensor([[signs[2] * size, signs[3] * size, -0.5]])
        for part in (target_kl, non_target_kl):
            value = part(student, teacher, ids, 4.0)
            (gradient,) = torch.autograd.grad(value, student)
            assert torch.isfinite(value), signs
            assert torch.isfinite(gradient).all(), signs


@pytest.mark.parametrize("lead", [-1e4, -345.0, 345.0, 420.0, 1e4])
def test_far_out_the_value_is_the_limit(lead: float) -> None:
    """A student whose true class leads by ``lead``, a teacher that is even: known in closed form."""
    student = torch.tensor([[lead, 0.0]], requires_grad=True)
    value = target_kl(student, torch.zeros(1, 2), torch.tensor([0]), 1.0)
    assert value.item() == pytest.approx(abs(lead) / 2 - math.log(2), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, student)
    assert gradient.tolist() == [pytest.approx([math.copysign(0.5, lead), math.copysign(0.5, -lead)])]


def test_unlabelled_images_are_left_out() -> None:
    student, teacher, ids = logits()
    some = ids.clone()
    some[[1, 3]] = IGNORED
    kept = [0, 2, 4]
    for part in (target_kl, non_target_kl):
        student.grad = None
        student.requires_grad_()
        value = part(student, teacher, some, 4.0)
        torch.testing.assert_close(value, part(student[kept], teacher[kept], ids[kept], 4.0))
        value.backward()
        assert student.grad is not None
        assert not student.grad[[1, 3]].any()
        assert part(student, teacher, torch.full_like(ids, IGNORED), 4.0).item() == 0


def test_dense_predictions_average_over_kept_positions() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    ids = torch.randint(3, (2, 4, 5))
    ids[0, 0] = IGNORED
    flat = [t.movedim(1, -1).reshape(-1, 3) for t in (student, teacher)]
    for part in (target_kl, non_target_kl):
        torch.testing.assert_close(part(student, teacher, ids, 2.0), part(*flat, ids.flatten(), 2.0))


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher, ids = (t.bfloat16() if t.is_floating_point() else t for t in logits())
    for part in (target_kl, non_target_kl):
        with torch.autocast("cpu", torch.bfloat16):
            half = part(student, teacher, ids, 4.0)
        assert half.dtype == torch.float32
        assert torch.equal(half, part(student.float(), teacher.float(), ids, 4.0))


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher, ids = logits()
    student.requires_grad_()
    teacher.requires_grad_()
    loss = DKD(ramp=0)(Output(student), Output(teacher), Batch((student,), ids))
    assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_soft_labels_are_refused_by_name() -> None:
    student, teacher, _ = logits()
    with pytest.raises(ValueError, match=r"DKD needs integer labels, got probabilities of shape \(5, 4\)"):
        DKD()(Output(student), Output(teacher), Batch((student,), student.softmax(1)))


def test_a_rise_needs_progress() -> None:
    student, teacher, ids = logits()
    with pytest.raises(ValueError, match=r"DKD rises over the first 0\.0833 of a run"):
        DKD()(Output(student), Output(teacher), Batch((student,), ids))


@pytest.mark.parametrize("part", [target_kl, non_target_kl])
def test_shapes_that_do_not_match_are_refused(part) -> None:
    ids = torch.zeros(2, dtype=torch.long)
    with pytest.raises(
        ValueError, match=r"student logits \(2, 3\) and teacher logits \(2, 4\).*same classes"
    ):
        part(torch.zeros(2, 3), torch.zeros(2, 4), ids, 4.0)
    with pytest.raises(ValueError, match=r"labels \(2,\) and logits \(4, 3\) do not match; give one label"):
        part(torch.zeros(4, 3), torch.zeros(4, 3), ids, 4.0)
    with pytest.raises(ValueError, match=r"at least two classes, got logits \(2, 1\)"):
        part(torch.zeros(2, 1), torch.zeros(2, 1), ids, 4.0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        DKD(temperature=0)
    with pytest.raises(ValueError, match="ramp must be at most 1, got 20"):
        DKD(ramp=20)


def test_compiled_equals_eager() -> None:
    student, teacher = torch.randn(2, 16, 5, dtype=torch.float64)
    student.requires_grad_()
    term, data = DKD(ramp=1.0), batch(16, torch.float64)
    compiled = torch.compile(term, backend="aot_eager", fullgraph=True, dynamic=False)
    losses = [f(Output(student), Output(teacher), data) for f in (term, compiled)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in losses))
