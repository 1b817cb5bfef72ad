"""Hard-label distillation against a loop written from the paper, image by image in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from zoo import CLASSES, batch, toy, toy_wide

from cohobate.core import Frozen, Output
from cohobate.methods.distillation import Distillation
from cohobate.methods.hard_label import HardLabel, hard_label_loss, teacher_labels


def logits(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def naive(student: Tensor, teacher: Tensor) -> float:
    """- log softmax(Z_s)[argmax Z_t], mean over the images."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        decision = max(range(len(t)), key=t.__getitem__)
        total -= s[decision] - math.log(sum(math.exp(z) for z in s))
    return total / len(student)


def test_value_is_the_naive_one() -> None:
    student, teacher = logits(0, 7, CLASSES), logits(1, 7, CLASSES)
    assert float(hard_label_loss(student, teacher)) == pytest.approx(naive(student, teacher), rel=1e-12)


def test_a_dense_prediction_is_labelled_position_by_position() -> None:
    student, teacher = logits(0, 2, CLASSES, 3, 4), logits(1, 2, CLASSES, 3, 4)
    rows = [z.permute(0, 2, 3, 1).reshape(-1, CLASSES) for z in (student, teacher)]
    assert float(hard_label_loss(student, teacher)) == pytest.approx(naive(*rows), rel=1e-12)


def test_gradient() -> None:
    student = logits(0, 4, CLASSES).requires_grad_()
    teacher = logits(1, 4, CLASSES)
    assert torch.autograd.gradcheck(lambda z: hard_label_loss(z, teacher), (student,))


def test_no_gradient_enters_the_teacher() -> None:
    teacher = logits(1, 4, CLASSES).requires_grad_()
    student = logits(0, 4, CLASSES).requires_grad_()
    loss = HardLabel()(Output(student), Output(teacher), batch(4))
    assert torch.autograd.grad(loss, teacher, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(loss, student)[0].abs().sum() > 0
    assert not teacher_labels(teacher).requires_grad


def test_the_loss_is_half_and_half() -> None:
    """Eq. 3, with labels of both, for the student as it is."""
    method = Distillation(toy(), Frozen(toy_wide()), {"hard": HardLabel()}, ce_weight=HardLabel.ce_weight)
    method = method.double()
    data = batch(dtype=torch.float64)
    student, teacher = method.student(data.x).logits, method.teacher(data.x).logits
    labels = torch.full((16, CLASSES), -1.0).double()
    labels[torch.arange(16), data.y] = 1.0
    expected = 0.5 * naive(student, labels) + 0.5 * naive(student, teacher)
    assert sum(float(value.detach()) for value in method(data).values()) == pytest.approx(expected, rel=1e-9)


def test_only_the_decision_of_the_teacher_counts() -> None:
    student, teacher = logits(0, 7, CLASSES), logits(1, 7, CLASSES)
    assert torch.equal(hard_label_loss(student, teacher), hard_label_loss(student, 100 * teacher + 3))


def test_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 5\) and teacher logits \(4, 6\) differ"):
        hard_label_loss(logits(0, 4, 5), logits(0, 4, 6))
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        HardLabel(weight=-1.0)
