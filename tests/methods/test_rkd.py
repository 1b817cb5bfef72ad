"""RKD against loops over pairs and triples, written from the paper."""

from __future__ import annotations

import pytest
import torch
from naive import rkd as naive
from torch import Tensor
from zoo import batch

from cohobate.core import Batch, Output
from cohobate.methods.rkd import RKD, angle_loss, distance_loss

PARTS = (distance_loss, angle_loss)


def features(images: int = 5, student: int = 3, teacher: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(images, student, dtype=torch.float64), torch.randn(
        images, teacher, dtype=torch.float64
    )


def close_images(noise: float) -> tuple[Tensor, Tensor]:
    """As pooling after a ReLU gives them, of few classes: positive, off centre, some nearly equal."""
    classes = torch.randint(8, (48,))
    draw = [(torch.randn(8, d)[classes] + noise * torch.randn(48, d)).relu() + 1 for d in (128, 256)]
    return draw[0], draw[1]


def test_the_losses_are_the_naive_ones() -> None:
    student, teacher = features()
    student.requires_grad_()
    for part, expected in zip(PARTS, naive(student, teacher), strict=True):
        value = part(student, teacher)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(*(torch.autograd.grad(v, student)[0] for v in (value, expected)))


def test_differences_beyond_the_threshold_are_linear() -> None:
    """Points on a line, in another order: cosines differ by 2, distances by more than 1."""
    student = torch.tensor([[0.0], [1.0], [20.0]], dtype=torch.float64)
    teacher = torch.tensor([[20.0], [0.0], [1.0]], dtype=torch.float64)
    for part, expected in zip(PARTS, naive(student, teacher), strict=True):
        torch.testing.assert_close(part(student, teacher), expected)


@pytest.mark.parametrize("part", PARTS)
def test_gradient(part) -> None:
    student, teacher = (x.requires_grad_() for x in features(4))
    assert torch.autograd.gradcheck(part, (student, teacher))


@pytest.mark.parametrize("part", PARTS)
def test_zero_when_student_equals_teacher(part) -> None:
    student, _ = close_images(0.3)
    assert part(student, student.clone()).item() == 0


@pytest.mark.parametrize("part", PARTS)
def test_zero_for_a_teacher_turned_scaled_and_moved(part) -> None:
    _, teacher = features(6, 4, 4)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    assert part(3 * teacher @ turn + 7, teacher).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("noise", [0.1, 1e-2, 1e-3])
@pytest.mark.parametrize("part", PARTS)
def test_float32_is_accurate_for_close_images(part, noise: float) -> None:
    """Inner products of features that share a large mean would lose these distances altogether."""
    student, teacher = (x.requires_grad_() for x in close_images(noise))
    exact = student.detach().double().requires_grad_()
    values = part(student, teacher.detach()), part(exact, teacher.detach().double())
    torch.testing.assert_close(values[0].double(), values[1], rtol=1e-5, atol=0)
    got, expected = torch.autograd.grad(values[0], student)[0], torch.autograd.grad(values[1], exact)[0]
    assert (got - expected).norm() / expected.norm() < 1e-6 / noise


@pytest.mark.parametrize("part", PARTS)
def test_the_same_image_twice(part) -> None:
    """Distance 0 in the student, in the teacher, or in both: as the loops say, with finite gradients."""
    student, teacher = features(6)
    student[1] = student[0]
    teacher[1] = teacher[0]
    teacher[4] = teacher[3]
    expected = naive(student, teacher)[PARTS.index(part)]
    torch.testing.assert_close(part(student, teacher), expected)
    small = student.float().requires_grad_()
    part(small, teacher.float()).backward()
    assert small.grad is not None
    assert torch.isfinite(small.grad).all()


def test_images_that_differ_by_rounding_give_no_large_gradient() -> None:
    """The same image twice, through kernels that add in another order."""
    student, teacher = (x.float() for x in features(6))
    student[1] = student[0] * (1 + 2**-22)
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(angle_loss(student, teacher), student)
    assert gradient.abs().max() < 1


@pytest.mark.parametrize("images", [1, 2, 4])
@pytest.mark.parametrize("part", PARTS)
def test_a_batch_of_equal_images(part, images: int) -> None:
    student = torch.ones(images, 3, requires_grad=True)
    value = part(student, torch.randn(images, 4))
    value.backward()
    assert student.grad is not None
    assert torch.isfinite(value)
    assert not student.grad.any()


@pytest.mark.parametrize("size", [1e4, 1e-4])
@pytest.mark.parametrize("part", PARTS)
def test_features_of_any_size(part, size: float) -> None:
    student, teacher = (x.float() for x in features(8, 16, 32))
    large = (size * student).requires_grad_()
    value = part(large, size * teacher)
    torch.testing.assert_close(value, part(student, teacher), rtol=1e-4, atol=1e-6)
    assert torch.isfinite(torch.autograd.grad(value, large)[0]).all()


@pytest.mark.parametrize("part", PARTS)
def test_half_precision_is_computed_in_float32(part) -> None:
    student, teacher = (x.bfloat16() for x in features())
    with torch.autocast("cpu", torch.bfloat16):
        half = part(student, teacher)
    assert half.dtype == torch.float32
    assert torch.equal(half, part(student.float(), teacher.float()))


def test_the_term_weighs_distances_and_angles() -> None:
    student, teacher = features()
    distance, angle = naive(student, teacher)
    given = Output(student, student), Output(teacher, teacher), batch(5)
    torch.testing.assert_close(RKD()(*given), 25 * distance + 50 * angle)
    torch.testing.assert_close(RKD(distance_weight=2, angle_weight=3)(*given), 2 * distance + 3 * angle)


def test_no_gradient_enters_the_teacher() -> None:
    student, teacher = (x.requires_grad_() for x in features())
    loss = RKD()(Output(student, student), Output(teacher, teacher), batch(5))
    assert torch.autograd.grad(loss, teacher, allow_unused=True)[0] is None


def test_labels_do_not_matter() -> None:
    student, teacher = features()
    given = Output(student, student), Output(teacher, teacher)
    assert torch.equal(RKD()(*given, batch(5)), RKD()(*given, Batch((student,), teacher.softmax(1))))


@pytest.mark.parametrize("part", PARTS)
def test_other_batches_and_maps_are_refused(part) -> None:
    with pytest.raises(
        ValueError, match=r"student features \(4, 3\) and teacher features \(5, 3\).*same images"
    ):
        part(torch.zeros(4, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"student features \(4, 3, 2, 2\) and .* pool maps first"):
        part(torch.zeros(4, 3, 2, 2), torch.zeros(4, 3))


def test_networks_without_pooled_features_are_refused() -> None:
    student, teacher = features()
    with pytest.raises(ValueError, match=r"RKD compares pooled features.*but the teacher does not.*head="):
        RKD()(Output(student, student), Output(teacher), batch(5))


def test_compiled_equals_eager() -> None:
    student, teacher = features(16)
    student.requires_grad_()
    term, data = RKD(), batch(16, torch.float64)
    compiled = torch.compile(term, backend="aot_eager", fullgraph=True, dynamic=False)
    losses = [f(Output(student, student), Output(teacher, teacher), data) for f in (term, compiled)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in losses))
