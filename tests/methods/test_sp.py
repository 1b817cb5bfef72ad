"""SP against a loop over pairs of images, written from the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from zoo import batch

from cohobate.core import Batch, Output
from cohobate.methods.sp import SP, similarity_loss


def similarities(maps: Tensor) -> list[list[Tensor]]:
    """G: inner products of all pairs, each row divided by its norm."""
    gram = [[(a * b).sum() for b in maps] for a in maps]
    norms = [sum(g**2 for g in row) ** 0.5 for row in gram]
    return [[g / n for g in row] for row, n in zip(gram, norms, strict=True)]


def naive(student: Tensor, teacher: Tensor) -> Tensor:
    rows = zip(similarities(teacher), similarities(student), strict=True)
    total = sum((t - s) ** 2 for row_t, row_s in rows for t, s in zip(row_t, row_s, strict=True))
    return total / len(student) ** 2


def maps(images: int = 4) -> tuple[Tensor, Tensor]:
    """Of other channels and sizes, positive, as a ReLU leaves them."""
    shapes = (images, 3, 2, 2), (images, 5, 3, 4)
    student, teacher = (torch.randn(s, dtype=torch.float64).relu() + 0.01 for s in shapes)
    return student, teacher


def outputs(student: Tensor, teacher: Tensor) -> tuple[Output, Output]:
    return Output(student, stages=(student.detach()[:, :1], student)), Output(teacher, stages=(teacher,))


def test_the_loss_is_the_naive_one() -> None:
    student, teacher = maps()
    student.requires_grad_()
    values = similarity_loss(student, teacher), naive(student, teacher)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(v, student)[0] for v in values))


def test_gradient() -> None:
    student, teacher = (x.requires_grad_() for x in maps(3))
    assert torch.autograd.gradcheck(similarity_loss, (student, teacher))


def test_zero_when_student_equals_teacher() -> None:
    student, _ = maps()
    assert similarity_loss(student, student.clone()).item() == 0


def test_zero_for_a_teacher_scaled_and_repeated() -> None:
    """Only similarities count, not the size of the maps or the number of channels."""
    student, _ = maps()
    assert similarity_loss(student, 3 * torch.cat([student, student], 1)).item() == pytest.approx(
        0, abs=1e-15
    )


def test_the_term_compares_the_deepest_stages() -> None:
    student, teacher = maps()
    torch.testing.assert_close(SP()(*outputs(student, teacher), batch(4)), naive(student, teacher))


@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_maps_of_any_size(size: float) -> None:
    student, teacher = (x.float() for x in maps())
    large = (size * student).requires_grad_()
    value = similarity_loss(large, size * teacher)
    torch.testing.assert_close(value, similarity_loss(student, teacher), rtol=1e-4, atol=0)
    assert torch.isfinite(torch.autograd.grad(value, large)[0]).all()


def test_far_out_of_either_sign() -> None:
    student = (1e4 * torch.randn(8, 64, 4, 4).sign()).requires_grad_()
    value = similarity_loss(student, -1e4 * torch.randn(8, 64, 4, 4).sign())
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, student)[0]).all()


@pytest.mark.parametrize("images", [[1], [0, 1, 2, 3]])
def test_dead_images_give_no_large_gradient(images: list[int]) -> None:
    """A map that the ReLU left all zero: dividing by a clamped norm would give gradients of 1e12."""
    student, teacher = (x.float() for x in maps())
    student[images] = 0
    student.requires_grad_()
    value = similarity_loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert torch.isfinite(value)
    assert gradient.abs().max() < 10


def test_the_same_image_twice() -> None:
    student, teacher = maps()
    student[1], teacher[1] = student[0], teacher[0]
    torch.testing.assert_close(similarity_loss(student, teacher), naive(student, teacher))


def test_half_precision_is_computed_in_float32() -> None:
    """The product too, which autocast would put back into bfloat16."""
    student, teacher = (x.bfloat16() for x in maps())
    with torch.autocast("cpu", torch.bfloat16):
        half = similarity_loss(student, teacher)
    assert half.dtype == torch.float32
    assert torch.equal(half, similarity_loss(student.float(), teacher.float()))


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = (x.requires_grad_() for x in maps())
    loss = SP()(*outputs(student, teacher), batch(4))
    assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_labels_do_not_matter() -> None:
    given = outputs(*maps())
    assert torch.equal(SP()(*given, batch(4)), SP()(*given, Batch((given[0].logits,), torch.rand(4, 5))))


def test_other_batches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"student \(4, 3, 2, 2\) and teacher \(5, 3, 2, 2\).*same images"):
        similarity_loss(torch.zeros(4, 3, 2, 2), torch.zeros(5, 3, 2, 2))


def test_networks_without_stages_are_refused() -> None:
    student, _ = outputs(*maps())
    with pytest.raises(ValueError, match="SP compares feature maps, but the teacher gives no stages"):
        SP()(student, Output(student.logits), batch(4))


def test_compiled_equals_eager() -> None:
    student, teacher = maps(16)
    student.requires_grad_()
    term, data = SP(), batch(16, torch.float64)
    compiled = torch.compile(term, backend="aot_eager", fullgraph=True, dynamic=False)
    losses = [f(*outputs(student, teacher), data) for f in (term, compiled)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in losses))
