"""Knowledge review, against loops written from the paper."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from zoo import CLASSES, batch, toy, toy_adapted, toy_wide

from cohobate.core import Batch, Frozen, Output
from cohobate.methods.distillation import Distillation
from cohobate.methods.matching import channels
from cohobate.methods.reviewkd import Fusion, ReviewKD, hcl, level_pairs
from cohobate.models.surgery.probe import enliven


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def output(pooled: Tensor, *stages: Tensor) -> Output:
    return Output(torch.zeros(len(pooled), CLASSES, dtype=pooled.dtype), pooled, stages)


# ---------------------------------------------------------------- hierarchical context loss


def blocks(rows: list[list[float]], size: int) -> list[float]:
    """Average pooling of [H][W] to size x size, H and W multiples of it."""
    h, w = len(rows) // size, len(rows[0]) // size
    return [
        sum(rows[i * h + a][j * w + b] for a in range(h) for b in range(w)) / (h * w)
        for i in range(size)
        for j in range(size)
    ]


def naive_hcl(student: Tensor, teacher: Tensor) -> float:
    total, weights, weight = 0.0, 0.0, 1.0
    full = student.shape[2]
    for size in [full, *(s for s in (4, 2, 1) if s < full)]:
        error, count = 0.0, 0
        for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
            for s, t in zip(ours, theirs, strict=True):
                for a, b in zip(blocks(s, size), blocks(t, size), strict=True):
                    error += (a - b) ** 2
                    count += 1
        total += weight * error / count
        weights += weight
        weight /= 2
    return total / weights


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_hcl_is_the_naive_one(size: int) -> None:
    student, teacher = maps(2, 2, 3, size, size)
    student.requires_grad_()
    value = hcl(student, teacher)
    assert value.item() == pytest.approx(naive_hcl(student, teacher), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, student)
    for place in [(0, 0, 0, 0), (1, 2, size - 1, 0)]:
        step = torch.zeros_like(student)
        step[place] = 1e-5
        moved = [naive_hcl(student.detach() + s, teacher) for s in (step, -step)]
        assert gradient[place].item() == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-6)


def test_gradcheck() -> None:
    student, teacher = maps(2, 2, 2, 4, 4)
    assert torch.autograd.gradcheck(lambda s: hcl(s, teacher), (student.requires_grad_(),))


def test_hcl_is_zero_when_student_equals_teacher() -> None:
    teacher = torch.randn(2, 3, 8, 8)
    assert hcl(teacher.clone(), teacher) == 0


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = torch.randn(2, 4, 6, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        half = hcl(student, teacher)
    assert half.dtype == torch.float32
    assert torch.equal(half, hcl(student.float(), teacher.float()))


# ---------------------------------------------------------------- fusion


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    """Batch norm by the batch."""
    assert isinstance(norm, nn.BatchNorm2d)
    mean = x.mean((0, 2, 3), keepdim=True)
    x = (x - mean) / torch.sqrt(((x - mean) ** 2).mean((0, 2, 3), keepdim=True) + 1e-5)
    return x * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)


def nearest(x: Tensor, size: int) -> Tensor:
    """Element by element: position i of the result is floor(i * old / new) of x."""
    out = x.new_zeros(*x.shape[:2], size, size)
    for i in range(size):
        for j in range(size):
            out[:, :, i, j] = x[:, :, i * x.shape[2] // size, j * x.shape[3] // size]
    return out


def naive_fusion(fusion: Fusion, x: Tensor, deeper: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Convolutions as sums over shifted maps."""
    kernel = fusion.enter[0].weight
    x = normed(torch.einsum("oi,bihw->bohw", kernel[:, :, 0, 0], x), fusion.enter[1])
    if deeper is not None and fusion.attend is not None:
        deeper = nearest(deeper, x.shape[2])
        weight, bias = fusion.attend.weight[:, :, 0, 0], fusion.attend.bias
        assert bias is not None
        both = torch.cat([x, deeper], 1)
        gates = [(weight[k].view(1, -1, 1, 1) * both).sum(1, keepdim=True) + bias[k] for k in range(2)]
        x = x / (1 + torch.exp(-gates[0])) + deeper / (1 + torch.exp(-gates[1]))
    x = nearest(x, size)
    padded, kernel = torch.nn.functional.pad(x, (1, 1, 1, 1)), fusion.leave[0].weight
    shifted = [
        torch.einsum("oi,bihw->bohw", kernel[:, :, a, b], padded[:, :, a : a + size, b : b + size])
        for a in range(3)
        for b in range(3)
    ]
    return normed(torch.stack(shifted).sum(0), fusion.leave[1]), x


def naive_review(term: ReviewKD, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    total, deeper = torch.zeros((), dtype=torch.float64), None
    for i in reversed(range(len(student))):
        fused, deeper = naive_fusion(term.fusions[i], student[i], deeper, teacher[i].shape[2])  # type: ignore[arg-type]
        total = total + naive_hcl_differentiable(fused, teacher[i])
    return total


def naive_hcl_differentiable(student: Tensor, teacher: Tensor) -> Tensor:
    errors = [((student - teacher) ** 2).mean()]
    for size in (4, 2, 1):
        if size < student.shape[2]:
            step = student.shape[2] // size
            cut = (student - teacher).unfold(2, step, step).unfold(3, step, step).mean((4, 5))
            errors.append((cut**2).mean())
    weights = [2.0**-i for i in range(len(errors))]
    return sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(weights)  # type: ignore[return-value]


SHAPES = [  # sizes of the student's and the teacher's stages
    ([4, 2], [4, 2]),
    ([4, 2], [8, 4]),
    ([8, 4], [4, 2]),
    ([4, 2], [4, 4]),
    ([4, 4], [4, 4]),
]


@pytest.mark.parametrize(("ours", "theirs"), SHAPES)
def test_the_review_is_the_naive_one(ours: list[int], theirs: list[int]) -> None:
    term = ReviewKD([2, 3, 4], [3, 2, 5], mid_channels=3, ramp=0).double()
    enliven(term)
    student = [maps(2, 2, ours[0], ours[0]), maps(2, 3, ours[1], ours[1]), maps(2, 4)]
    teacher = [maps(2, 3, theirs[0], theirs[0]), maps(2, 2, theirs[1], theirs[1]), maps(2, 5)]
    for x in student:
        x.requires_grad_()
    value = term(output(student[2], *student[:2]), output(teacher[2], *teacher[:2]), batch(2))
    levels = [[*x[:2], x[2][:, :, None, None]] for x in (student, teacher)]
    expected = naive_review(term, *levels)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    inputs = [*student, *term.parameters()]
    for one, two in zip(
        torch.autograd.grad(value, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-10)


def test_the_whole_term_passes_gradcheck() -> None:
    term = ReviewKD([2, 3], [3, 2], mid_channels=2, ramp=0).double()
    teacher = output(maps(3, 2), maps(3, 3, 2, 2))
    inputs = maps(3, 3).requires_grad_(), maps(3, 2, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda *s: term(output(*s), teacher, batch(3)), inputs)


def test_zero_when_the_fused_levels_are_the_teachers() -> None:
    term = ReviewKD([2, 3], [3, 4], ramp=0).double()
    student = output(maps(2, 3), maps(2, 2, 4, 4))
    with torch.no_grad():
        deep, passed = term.fusions[1](student.pooled[:, :, None, None], None, (1, 1))  # type: ignore[index]
        shallow, _ = term.fusions[0](student.stages[0], passed, (4, 4))
    teacher = output(deep.flatten(1), shallow)
    assert term(student, teacher, batch(2)).item() == pytest.approx(0, abs=1e-20)


# ---------------------------------------------------------------- the term


def test_levels_are_after_the_students_relu_and_before_the_teachers() -> None:
    x = batch(2).x
    student, teacher = toy()(x), toy_wide()(x)
    assert teacher.preacts is not None
    pairs = level_pairs(student, teacher)
    assert all(one is two for (one, _), two in zip(pairs, student.stages, strict=False))
    assert all(one is two for (_, one), two in zip(pairs, teacher.preacts, strict=False))
    assert channels(pairs) == ([8, 8, 8, 8], [16, 32, 64, 64])
    # A network that cannot say is read where it can.
    adapted = toy_adapted()(x)
    assert all(t is s for (_, t), s in zip(level_pairs(adapted, adapted), adapted.stages, strict=False))


@pytest.mark.parametrize(("pooled", "width"), [(64, 64), (1280, 512)])
def test_width(pooled: int, width: int) -> None:
    term = ReviewKD([4, pooled], [4, 8])
    assert [fusion.enter[0].out_channels for fusion in term.fusions] == [width, width]  # type: ignore[index,union-attr]


def term_and_outputs() -> tuple[ReviewKD, Output, Output]:
    term = ReviewKD([2, 3], [3, 4]).double()
    return term, output(maps(2, 3), maps(2, 2, 4, 4)), output(maps(2, 4), maps(2, 3, 8, 8))


def test_it_rises_over_the_first_twelfth() -> None:
    term, student, teacher = term_and_outputs()

    def at(progress: float) -> float:
        data = batch(2)._replace(progress=torch.tensor(progress, dtype=torch.float64))
        return term(student, teacher, data).item()  # type: ignore[no-any-return]

    assert at(0.0) == 0
    assert at(1 / 24) == pytest.approx(at(1.0) / 2, rel=1e-9)
    assert at(1 / 12) == pytest.approx(at(1.0), rel=1e-9)
    assert at(0.5) == at(1.0)
    with pytest.raises(ValueError, match=r"ReviewKD rises over the first 0.0833 .*or a share of 0"):
        term(student, teacher, batch(2)._replace(progress=None))


def test_finite_far_out() -> None:
    student = (1e4 * torch.randn(2, 2, 8, 8)).requires_grad_()
    term = ReviewKD([2, 3], [3, 4], ramp=0)
    teacher = output(1e4 * torch.randn(2, 4), -1e4 * torch.rand(2, 3, 8, 8))
    value = term(output(1e4 * torch.randn(2, 3), student), teacher, batch(2))
    value.backward()
    assert student.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_no_gradient_enters_the_teacher() -> None:
    pooled, stage = torch.randn(2, 4, requires_grad=True), torch.randn(2, 3, 8, 8, requires_grad=True)
    term = ReviewKD([2, 3], [3, 4])
    loss = term(output(torch.randn(2, 3), torch.randn(2, 2, 4, 4)), output(pooled, stage), batch(2))
    assert torch.autograd.grad(loss, (pooled, stage), allow_unused=True) == (None, None)


def test_other_shapes_are_refused() -> None:
    term, student, _ = term_and_outputs()
    with pytest.raises(ValueError, match=r"student \(2, 3, 4, 4\) and teacher \(2, 3, 2, 2\) differ; fuse"):
        hcl(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))
    with pytest.raises(
        ValueError, match=r"\[2, 3\] and teacher channels \[3, 4\].*\(2, 3, 1, 1\) and \(2, 9, 1, 1\)"
    ):
        term(student, output(maps(2, 9), maps(2, 3, 8, 8)), batch(2))
    with pytest.raises(ValueError, match=r"got \[1, 2\] and \[1\]"):
        ReviewKD([1, 2], [1])
    with pytest.raises(ValueError, match="ramp must be at most 1, got 20"):
        ReviewKD([1, 2], [1, 2], ramp=20)
    with pytest.raises(ValueError, match=r"ReviewKD compares pooled features.*but the teacher.*head="):
        term(student, Output(maps(2, 5), None, (maps(2, 3, 8, 8),)), batch(2))


def test_soft_labels_are_taken() -> None:
    term = ReviewKD([8, 8, 8, 8], [16, 32, 64, 64])
    method = Distillation(toy(), Frozen(toy_wide()), {"reviewkd": term}, ce_weight=1.0)
    data = batch(4)
    soft = Batch(data.views, torch.full((4, CLASSES), 0.2), data.index, data.progress)
    assert torch.equal(method(soft)["reviewkd"], method(data)["reviewkd"])


def test_compiled_equals_eager() -> None:
    term, student, teacher = term_and_outputs()
    compiled = torch.compile(deepcopy(term), backend="aot_eager", fullgraph=True)
    data = batch(2, torch.float64)
    torch.testing.assert_close(compiled(student, teacher, data), term(student, teacher, data))
