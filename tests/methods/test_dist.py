"""DIST against loops written from the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from zoo import batch

from cohobate.core import Batch, Output
from cohobate.methods.dist import DIST, inter_class, intra_class, pearson

PARTS = (inter_class, intra_class)


def logits(images: int = 6, classes: int = 4) -> Tensor:
    return torch.randn(2, images, classes, dtype=torch.float64) * 3


def correlation(u: list[Tensor], v: list[Tensor]) -> Tensor:
    """Pearson's, entry by entry."""
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    covariance = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    spread_u, spread_v = sum((a - mean_u) ** 2 for a in u), sum((b - mean_v) ** 2 for b in v)
    return covariance / (spread_u * spread_v).sqrt()


def naive(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    images, classes = student.shape
    s, t = (
        torch.stack([(z / temperature).exp() / (z / temperature).exp().sum() for z in x])
        for x in (student, teacher)
    )
    rows = [
        1 - correlation([s[i, j] for j in range(classes)], [t[i, j] for j in range(classes)])
        for i in range(images)
    ]
    columns = [
        1 - correlation([s[i, j] for i in range(images)], [t[i, j] for i in range(images)])
        for j in range(classes)
    ]
    return temperature**2 * sum(rows) / images, temperature**2 * sum(columns) / classes


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_relations_are_the_naive_ones(temperature: float) -> None:
    student, teacher = logits()
    student.requires_grad_()
    for part, expected in zip(PARTS, naive(student, teacher, temperature), strict=True):
        value = part(student, teacher, temperature)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(
            *(torch.autograd.grad(v, student, retain_graph=True)[0] for v in (value, expected))
        )


def test_the_term_weighs_the_relations() -> None:
    student, teacher = logits()
    value = DIST(inter=0.5, intra=3.0, temperature=2.0)(Output(student), Output(teacher), batch(6))
    inter, intra = naive(student, teacher, 2.0)
    torch.testing.assert_close(value, 0.5 * inter + 3 * intra)


@pytest.mark.parametrize("part", PARTS)
def test_gradient(part) -> None:
    student, teacher = (x.requires_grad_() for x in logits(3, 4).unbind())
    assert torch.autograd.gradcheck(lambda s, t: part(s, t, 2.0), (student, teacher))


@pytest.mark.parametrize("part", PARTS)
def test_zero_when_student_equals_teacher(part) -> None:
    student, _ = logits().float()
    assert part(student, student.clone(), 4.0).item() == pytest.approx(0, abs=1e-5)


def test_predictions_that_only_correlate_cost_nothing() -> None:
    """What KL would punish: rows of the student that are a softer copy of the teacher's."""
    _, teacher = logits()
    softer = (0.3 * teacher.softmax(1) + 0.7 / teacher.shape[1]).log()
    for part in PARTS:
        assert part(softer, teacher, 1.0).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_finite_far_out(size: float) -> None:
    """One-hot rows, and a class that nobody predicts."""
    student = torch.tensor([[size, -size, 0.0], [size, 0.0, -size], [-size, -size, size]], requires_grad=True)
    teacher = torch.tensor([[-size, -size, size], [size, -size, 0.0], [size, 0.0, -size]])
    for part in PARTS:
        value = part(student, teacher, 4.0)
        (gradient,) = torch.autograd.grad(value, student)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_constant_rows_and_columns_count_as_uncorrelated(who: str) -> None:
    """A classifier that starts at zero: no NaN, and no gradient out of rounding errors."""
    other, same = torch.randn(64, 10), torch.full((64, 10), 0.37)
    student, teacher = (same, other) if who == "student" else (other, same)
    student = student.clone().requires_grad_()
    for part in PARTS:
        value = part(student, teacher, 4.0)
        (gradient,) = torch.autograd.grad(value, student)
        assert value.item() == 16
        assert not gradient.any()


def test_small_probabilities_correlate_like_large_ones() -> None:
    a, b = torch.rand(2, 5, 8)
    torch.testing.assert_close(pearson(a, b, dim=1), pearson(1e-9 * a, b, dim=1))
    torch.testing.assert_close(pearson(a, b, dim=1), pearson(1e9 * a, b, dim=1))


def test_every_position_of_a_dense_prediction_is_a_row() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    flat = [t.movedim(1, -1).reshape(-1, 3) for t in (student, teacher)]
    for part in PARTS:
        torch.testing.assert_close(part(student, teacher, 2.0), part(*flat, 2.0))


@pytest.mark.parametrize("part", PARTS)
def test_half_precision_is_computed_in_float32(part) -> None:
    student, teacher = logits().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        half = part(student, teacher, 4.0)
    assert half.dtype == torch.float32
    assert torch.equal(half, part(student.float(), teacher.float(), 4.0))


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = (x.requires_grad_() for x in logits().unbind())
    loss = DIST()(Output(student), Output(teacher), batch(6))
    assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_labels_do_not_matter() -> None:
    student, teacher = logits()
    soft = Batch((student,), teacher.softmax(1))
    given = Output(student), Output(teacher)
    assert torch.equal(DIST()(*given, batch(6)), DIST()(*given, soft))


@pytest.mark.parametrize("part", PARTS)
def test_other_classes_are_refused(part) -> None:
    with pytest.raises(
        ValueError, match=r"student logits \(2, 3\) and teacher logits \(2, 4\).*same classes"
    ):
        part(torch.zeros(2, 3), torch.zeros(2, 4), 4.0)


def test_bad_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, got -1"):
        DIST(temperature=-1)


def test_compiled_equals_eager() -> None:
    student, teacher = logits(16, 5)
    student.requires_grad_()
    term, data = DIST(), batch(16, torch.float64)
    compiled = torch.compile(term, backend="aot_eager", fullgraph=True, dynamic=False)
    losses = [f(Output(student), Output(teacher), data) for f in (term, compiled)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in losses))
