"""Channel-wise distillation against a loop written from the paper, and against what masks ask for."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from zoo import batch

from cohobate.core import Batch, Output, Taps
from cohobate.methods.cwd import CWD, channel_kl


def naive(student: Tensor, teacher: Tensor, temperature: float, kept: Tensor | None = None) -> float:
    """A channel at a time, in Python floats; a position that is not kept does not exist."""
    total, images = 0.0, 0
    for i, (ours, theirs) in enumerate(zip(student.tolist(), teacher.tolist(), strict=True)):
        rows = range(len(ours[0])), range(len(ours[0][0]))
        places = [(y, x) for y in rows[0] for x in rows[1] if kept is None or kept[i, y, x]]
        images += bool(places)
        for one, two in zip(ours, theirs, strict=True):
            q = [math.exp(one[y][x] / temperature) for y, x in places]
            p = [math.exp(two[y][x] / temperature) for y, x in places]
            q, p = [a / sum(q) for a in q], [a / sum(p) for a in p]
            total += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True)) / len(ours)
    return temperature**2 * total / max(images, 1)


def maps(*shape: int) -> tuple[Tensor, Tensor]:
    student, teacher = 3 * torch.randn(2, *shape, dtype=torch.float64)
    return student.requires_grad_(), teacher


KEPT = torch.tensor([[[1, 0, 1], [1, 1, 0]], [[0, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]]).bool()
"""Of three images: some positions, one, none."""


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_is_the_naive_one(temperature: float) -> None:
    student, teacher = maps(3, 4, 2, 3)
    for kept in (None, KEPT):
        value = channel_kl(student, teacher, temperature, kept)
        assert value.item() == pytest.approx(naive(student, teacher, temperature, kept), rel=1e-12)
        assert torch.autograd.gradcheck(
            lambda s, k=kept: channel_kl(s, teacher, temperature, k),  # type: ignore[misc]
            (student,),
        )


def test_limits() -> None:
    student, teacher = maps(2, 3, 2, 3)
    assert channel_kl(student, student.detach(), 4.0).item() == pytest.approx(0, abs=1e-12)
    # Whatever is added to a channel, the shares of its positions are the same.
    shifted = student + torch.randn(1, 3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(channel_kl(shifted, teacher, 4.0), channel_kl(student, teacher, 4.0))
    every = torch.ones(2, 2, 3, dtype=torch.bool)
    torch.testing.assert_close(channel_kl(student, teacher, 4.0, every), channel_kl(student, teacher, 4.0))


@pytest.mark.parametrize("size", [1.0, 1e30, math.inf, math.nan])
def test_a_position_that_is_not_kept_has_a_gradient_of_exactly_zero(size: float) -> None:
    student, teacher = maps(3, 4, 2, 3)
    here = KEPT.unsqueeze(1)
    wild = torch.where(here, student.detach(), size * torch.randn_like(teacher)).requires_grad_()
    value = channel_kl(wild, torch.where(here, teacher, size), 4.0, KEPT)
    (gradient,) = torch.autograd.grad(value, wild)
    (expected,) = torch.autograd.grad(channel_kl(student, teacher, 4.0, KEPT), student)
    assert torch.equal(gradient, expected)
    assert not torch.where(here, 0, gradient).any()
    assert gradient[0].any()


def test_nothing_kept_gives_zero() -> None:
    student, teacher = maps(3, 4, 2, 3)
    value = channel_kl(student, teacher, 4.0, torch.zeros_like(KEPT))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == 0
    assert not gradient.any()


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = (x.detach().bfloat16() for x in maps(2, 3, 2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        half = channel_kl(student, teacher, 4.0)
    assert half.dtype == torch.float32
    assert torch.equal(half, channel_kl(student.float(), teacher.float(), 4.0))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"CWD: student \(2, 3, 4, 4\) and teacher \(2, 5, 4, 4\) differ"):
        channel_kl(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4), 4.0)


# ---------------------------------------------------------------- the term


class Networks(NamedTuple):
    """What the term is made for."""

    student: Output
    teacher: Output
    taps: Taps = "stages"
    labels: Tensor = torch.empty(0)

    def teacher_norms(self) -> list[nn.BatchNorm2d]:
        return []


def dense(*widths: int, classes: int = 3) -> Output:
    stages = tuple(torch.randn(2, w, 8 // 2**i, 8 // 2**i) for i, w in enumerate(widths))
    return Output(torch.randn(2, classes, 8, 8), None, stages)


def whole(*widths: int) -> Output:
    return dense(*widths)._replace(logits=torch.randn(2, 3))


def test_logits_of_every_pixel_are_compared_unless_it_says_otherwise() -> None:
    student, teacher = dense(4, 6), dense(4, 8)
    term = CWD.between(Networks(student, teacher))
    assert (term.weight, term.logits_only, list(term.parameters())) == (3.0, True, [])
    masks = Batch((torch.zeros(2, 3, 8, 8),), torch.randint(-1, 3, (2, 8, 8)).clamp(min=-100))
    masks = masks._replace(y=torch.where(masks.y < 0, -100, masks.y))
    value = term(student, teacher, masks)
    assert torch.equal(value, channel_kl(student.logits, teacher.logits, 4.0, masks.kept))

    features = CWD.between(Networks(student, teacher), maps="stages")
    assert (features.weight, features.logits_only) == (50.0, False)
    assert [type(each) for each in features.connectors] == [nn.Identity, nn.Conv2d]
    assert torch.isfinite(features(student, teacher, masks))


def test_stages_are_compared_where_there_are_no_maps_of_logits() -> None:
    student, teacher = whole(4, 6), whole(4, 6)
    term = CWD.between(Networks(student, teacher), temperature=2.0)
    each = [channel_kl(s, t, 2.0) for s, t in zip(student.stages, teacher.stages, strict=True)]
    torch.testing.assert_close(term(student, teacher, batch(2)), torch.stack(each).mean())
    alone = CWD.between(Networks(student, teacher), temperature=2.0, stage=-1)
    torch.testing.assert_close(alone(student, teacher, batch(2)), each[1])


def test_sizes_that_differ_are_pooled_and_no_gradient_enters_the_teacher() -> None:
    student, teacher = whole(4, 6), whole(8)
    teacher.stages[0].requires_grad_()
    term = CWD.between(Networks(student, teacher))
    term(student, teacher, batch(2)).backward()
    assert teacher.stages[0].grad is None
    assert all(p.grad is not None and p.grad.any() for p in term.parameters())


def test_weights_that_are_given_are_kept() -> None:
    assert CWD(None, weight=7.0).weight == 7.0
    assert CWD([(4, 4)], weight=0.0).weight == 0.0


@pytest.mark.parametrize(
    ("networks", "given", "message"),
    [
        (whole, {"maps": "logits"}, "predict every pixel (--model dense:BACKBONE), got logits (2, 3)"),
        (dense, {"stage": 1}, "stage 1 has no effect with maps logits"),
        (whole, {"stage": 2}, "2 pairs of stages, so stage goes from -2 to 1, got 2"),
        (whole, {"temperature": 0}, "temperature must be above 0, got 0"),
    ],
)
def test_refusals(networks: object, given: dict[str, object], message: str) -> None:
    made = networks(4, 6)  # type: ignore[operator]
    with pytest.raises(ValueError, match=re.escape(message)):
        CWD.between(Networks(made, made), **given)  # type: ignore[arg-type]


def test_other_channels_than_it_was_made_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"CWD was made for student channels \[4, 6\]"):
        CWD([(4, 4), (6, 6)])(whole(4, 4), whole(4, 6), batch(2))
