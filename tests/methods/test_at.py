"""Attention transfer, against loops written from the paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from zoo import batch, toy, toy_wide

from cohobate.core import Batch, Frozen, Output
from cohobate.methods.at import AT, at_loss, attention_map
from cohobate.methods.distillation import Distillation


def naive_map(image: list[list[list[float]]]) -> list[float]:
    """Of one image, [C][H][W], a position at a time."""
    height, width = len(image[0]), len(image[0][0])
    sums = [sum(c[i][j] ** 2 for c in image) for i in range(height) for j in range(width)]
    length = math.sqrt(sum(s**2 for s in sums))
    return [s / length for s in sums]


def naive(student: Tensor, teacher: Tensor) -> float:
    total, count = 0.0, 0
    for one, two in zip(student.tolist(), teacher.tolist(), strict=True):
        for q_s, q_t in zip(naive_map(one), naive_map(two), strict=True):
            total += (q_s - q_t) ** 2
            count += 1
    return total / count


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def numeric(loss: object, x: Tensor, size: float = 1e-6) -> Tensor:
    """Central differences of a function of one tensor, an element at a time."""
    gradient = torch.zeros_like(x)
    for i in range(x.numel()):
        step = torch.zeros_like(x).flatten()
        step[i] = size
        step = step.view_as(x)
        gradient.view(-1)[i] = (loss(x + step) - loss(x - step)) / (2 * size)  # type: ignore[operator]
    return gradient


def test_value_and_gradient_are_the_naive_ones() -> None:
    student, teacher = maps(2, 3, 2, 2).requires_grad_(), maps(2, 4, 2, 2)
    value = at_loss(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(naive(student, teacher), rel=1e-12)
    expected = numeric(lambda s: naive(s, teacher), student.detach())
    torch.testing.assert_close(student.grad, expected, rtol=1e-6, atol=1e-9)


def test_gradcheck() -> None:
    student, teacher = maps(2, 3, 2, 2).requires_grad_(), maps(2, 2, 2, 2)
    assert torch.autograd.gradcheck(lambda s: at_loss(s, teacher), (student,))


def test_maps_have_length_one() -> None:
    torch.testing.assert_close(attention_map(maps(3, 4, 5, 6)).norm(dim=1), torch.ones(3).double())


def test_zero_when_the_student_looks_where_the_teacher_does() -> None:
    teacher = torch.randn(2, 4, 3, 3)
    assert at_loss(teacher.clone(), teacher) == 0
    # A scale and the order of channels do not matter.
    assert at_loss(3 * teacher.flip(1), teacher).item() == pytest.approx(0, abs=1e-12)


def test_stages_are_summed_deepest_with_deepest() -> None:
    student = [maps(2, 3, 4, 4), maps(2, 5, 2, 2)]
    teacher = [maps(2, 9, 8, 8), maps(2, 2, 4, 4), maps(2, 7, 2, 2)]
    value = AT()(output(student), output(teacher), batch(2))
    expected = naive(student[0], teacher[1]) + naive(student[1], teacher[2])
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_other_sizes_are_pooled() -> None:
    student, teacher = maps(2, 3, 4, 4), maps(2, 3, 2, 2)
    pooled = torch.stack(
        [student[:, :, i : i + 2, j : j + 2].mean((2, 3)) for i in (0, 2) for j in (0, 2)], 2
    )
    value = AT()(output([student]), output([teacher]), batch(2))
    assert value.item() == pytest.approx(naive(pooled.view(2, 3, 2, 2), teacher), rel=1e-12)


def output(stages: list[Tensor]) -> Output:
    return Output(torch.zeros(len(stages[0]), 5, dtype=stages[0].dtype), None, tuple(stages))


@pytest.mark.parametrize("size", [1e4, 0.0, 1e-10])
def test_finite_far_out_and_where_all_is_zero(size: float) -> None:
    student = (size * torch.randn(2, 8, 16, 16)).requires_grad_()
    for teacher in (torch.zeros(2, 4, 16, 16), torch.randn(2, 4, 16, 16), 1e4 * torch.ones(2, 4, 16, 16)):
        student.grad = None
        value = at_loss(student, teacher)
        value.backward()
        assert student.grad is not None
        assert torch.isfinite(value)
        assert torch.isfinite(student.grad).all()


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = torch.randn(2, 4, 6, 3, 3).bfloat16()
    expected = at_loss(student.float(), teacher.float())
    with torch.autocast("cpu", torch.bfloat16):
        half = at_loss(student, teacher)
        term = AT()(output([student]), output([teacher]), batch(4))
    assert half.dtype == torch.float32
    assert torch.equal(half, expected)
    assert torch.equal(term, expected)


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    loss = AT()(output([student]), output([teacher]), batch(2))
    ours, theirs = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    assert ours is not None
    assert theirs is None


def test_other_positions_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"student \(2, 3, 4, 4\) and teacher \(2, 5, 2, 8\).*to_common_size"
    ):
        at_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 2, 8))


def test_networks_without_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="AT compares feature maps, but the teacher gives no stages"):
        AT()(output([torch.zeros(2, 3, 4, 4)]), Output(torch.zeros(2, 5)), batch(2))


def test_soft_labels_are_taken() -> None:
    method = Distillation(toy(), Frozen(toy_wide()), {"at": AT()}, ce_weight=1.0)
    data = batch(4)
    soft = Batch(data.views, torch.full((4, 5), 0.2), data.index, data.progress)
    assert torch.equal(method(soft)["at"], method(data)["at"])


def test_compiled_equals_eager() -> None:
    student, teacher = output([maps(2, 3, 4, 4)]), output([maps(2, 5, 8, 8), maps(2, 5, 2, 2)])
    compiled = torch.compile(AT(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(student, teacher, batch(2)), AT()(student, teacher, batch(2)))
