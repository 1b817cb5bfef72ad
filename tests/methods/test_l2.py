"""L2 between logits, and between softened probabilities, against loops over images and classes."""

from __future__ import annotations

import pytest
import torch
from naive import softmax
from torch import Tensor
from zoo import CLASSES, batch

from cohobate.core import Output
from cohobate.methods.l2 import L2, softened_l2, squared_l2

T = 3.0


def logits(*shape: int) -> tuple[Tensor, Tensor]:
    size = shape or (6, CLASSES)
    return torch.randn(size, dtype=torch.float64), 2 * torch.randn(size, dtype=torch.float64)


def naive(student: Tensor, teacher: Tensor, reduction: str, temperature: float | None = None) -> float:
    """|S - T|^2 of each image, or t^2 |softmax(S / t) - softmax(T / t)|^2; the mean over the images."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        if temperature is not None:
            s, t = softmax(s, temperature), softmax(t, temperature)
        squared = sum((a - b) ** 2 for a, b in zip(s, t, strict=True))
        squared *= 1.0 if temperature is None else temperature**2
        total += squared / (len(s) if reduction == "mean" else 1)
    return total / len(student)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_losses_are_the_naive_ones(reduction) -> None:
    student, teacher = logits()
    found = squared_l2(student, teacher, reduction=reduction)
    assert found.item() == pytest.approx(naive(student, teacher, reduction), rel=1e-12)
    found = softened_l2(student, teacher, T, reduction=reduction)
    assert found.item() == pytest.approx(naive(student, teacher, reduction, T), rel=1e-12)


def test_sums_over_the_classes_unless_told_otherwise() -> None:
    student, teacher = logits()
    assert squared_l2(student, teacher).item() == pytest.approx(naive(student, teacher, "sum"), rel=1e-12)
    assert softened_l2(student, teacher, T).item() == pytest.approx(
        naive(student, teacher, "sum", T), rel=1e-12
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients(reduction) -> None:
    student, teacher = (x.requires_grad_() for x in logits())
    for loss in (squared_l2, lambda s, t, reduction: softened_l2(s, t, T, reduction=reduction)):
        assert torch.autograd.gradcheck(lambda s, t, f=loss: f(s, t, reduction=reduction), (student, teacher))


def test_between_logits_the_temperature_cancels() -> None:
    """t^2 |S / t - T / t|^2 of eq. 3 of ResKD, without its softmax."""
    student, teacher = logits()
    for temperature in (0.5, 4.0):
        scaled = temperature**2 * squared_l2(student / temperature, teacher / temperature)
        torch.testing.assert_close(scaled, squared_l2(student, teacher), rtol=1e-12, atol=0)
        (one, other) = (
            L2(temperature=t)(Output(student), Output(teacher), batch(6)) for t in (temperature, 1.0)
        )
        assert torch.equal(one, other)


def test_probabilities_of_a_high_temperature_are_the_centred_logits() -> None:
    """softmax(z / t) is (1 + (z - mean z) / t) / K up to 1 / t^2."""
    student, teacher = logits()
    centred = [z - z.mean(dim=1, keepdim=True) for z in (student, teacher)]
    expected = squared_l2(*centred) / CLASSES**2
    torch.testing.assert_close(softened_l2(student, teacher, 1e5), expected, rtol=1e-4, atol=0)


def test_zero_where_student_and_teacher_agree() -> None:
    student, _ = logits()
    student.requires_grad_()
    for term in (L2(), L2(of="probabilities")):
        loss = term(Output(student), Output(student.detach().clone()), batch(6))
        loss.backward()
        assert loss.item() == 0
        assert student.grad is not None
        assert not student.grad.any()


def test_a_dense_prediction_is_the_mean_over_its_positions() -> None:
    student, teacher = logits(2, CLASSES, 3, 4)
    rows = [z.movedim(1, -1).reshape(-1, CLASSES) for z in (student, teacher)]
    for reduction in ("mean", "sum"):
        dense = squared_l2(student, teacher, reduction=reduction)  # type: ignore[arg-type]
        assert dense.item() == pytest.approx(naive(*rows, reduction), rel=1e-12)
    assert softened_l2(student, teacher, T).item() == pytest.approx(naive(*rows, "sum", T), rel=1e-12)


def test_the_term_averages_logits_and_sums_probabilities_unless_told_otherwise() -> None:
    student, teacher = logits()
    given = Output(student), Output(teacher), batch(6)
    for of, default in (("logits", "mean"), ("probabilities", "sum")):
        for reduction in (None, "mean", "sum"):
            term = L2(of=of, reduction=reduction, temperature=T)  # type: ignore[arg-type]
            temperature = T if of == "probabilities" else None
            expected = naive(student, teacher, reduction or default, temperature)
            assert term(*given).item() == pytest.approx(expected, rel=1e-12)


def test_the_temperature_may_change_over_the_run() -> None:
    student, teacher = logits()
    term = L2(of="probabilities", temperature="2..6")  # type: ignore[arg-type]
    data = batch(6)._replace(progress=torch.tensor(0.25, dtype=torch.float64))
    expected = naive(student, teacher, "sum", 3.0)
    assert term(Output(student), Output(teacher), data).item() == pytest.approx(expected, rel=1e-12)


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = (x.requires_grad_() for x in logits())
    for term in (L2(), L2(of="probabilities")):
        loss = term(Output(student), Output(teacher), batch(6))
        assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = (x.bfloat16() for x in logits())
    whole = student.float(), teacher.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = squared_l2(student, teacher), softened_l2(student, teacher, T)
    assert [each.dtype for each in found] == [torch.float32] * 2
    assert torch.equal(found[0], squared_l2(*whole))
    assert torch.equal(found[1], softened_l2(*whole, T))


def test_other_classes_are_refused() -> None:
    for loss in (squared_l2, lambda s, t: softened_l2(s, t, T)):
        with pytest.raises(ValueError, match=r"student logits \(2, 5\) and teacher logits \(2, 7\) differ"):
            loss(torch.zeros(2, 5), torch.zeros(2, 7))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"weight": -1.0}, "weight must be at least 0, got -1.0"),
    ],
)
def test_options_out_of_range(how, message) -> None:
    with pytest.raises(ValueError, match=message):
        L2(**how)
