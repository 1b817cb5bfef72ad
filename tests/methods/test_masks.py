"""Methods on masks, a label for every pixel: those that are ignored count in no loss of predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dense_zoo import DENSE, batch_of_masks
from torch import Tensor
from zoo import CLASSES, SIZE, Case, seeded

from cohobate.core import IGNORED, Batch, Method, Output, Term, cross_entropy
from cohobate.methods.cwd import CWD
from cohobate.methods.dist import DIST, inter_class, intra_class
from cohobate.methods.dkd import DKD
from cohobate.methods.dml import mutual_kl
from cohobate.methods.hard_label import HardLabel
from cohobate.methods.kd import KD
from cohobate.methods.l2 import L2
from cohobate.methods.logit_standardisation import Standardised
from cohobate.methods.slkd import sl_losses, student_losses
from cohobate.models.dense.network import DenseNetwork
from cohobate.models.dense.self_teacher import DenseSelfTeacher

TERMS: dict[str, Callable[[], Term]] = {
    "kd": lambda: KD(temperature=3.0),
    "l2": L2,
    "l2 summed": lambda: L2(reduction="sum"),
    "l2 of probabilities": lambda: L2(of="probabilities", temperature=2.0),
    "l2 of probabilities, mean": lambda: L2(of="probabilities", reduction="mean"),
    "standardised_kd": lambda: Standardised(KD(temperature=2.0)),
    "standardised dist": lambda: Standardised(DIST()),
    "dkd": lambda: DKD(ramp=0.0),
    "dist": DIST,
    "hard": HardLabel,
}
"""Terms whose loss of a dense prediction is that of its kept pixels, each as an image of its own."""

terms = pytest.mark.parametrize("name", TERMS)


def logits(images: int = 3) -> tuple[Tensor, Tensor]:
    student, teacher = 3 * torch.randn(2, images, CLASSES, SIZE, SIZE, dtype=torch.float64)
    return student.requires_grad_(), teacher


def masks(images: int = 3) -> Batch:
    """Of which the second image is ignored altogether."""
    return batch_of_masks(images, dtype=torch.float64)


def rows(x: Tensor, kept: Tensor) -> Tensor:
    """(B, K, H, W) -> the kept positions, (N, K)."""
    return x.movedim(1, -1)[kept]


@terms
def test_it_is_the_loss_of_the_kept_pixels(name: str) -> None:
    term, batch = TERMS[name](), masks()
    (student, teacher), kept = logits(), batch.y != IGNORED
    assert 0.3 < kept.double().mean() < 0.7
    apart = Batch((torch.zeros(0),), batch.y[kept], None, batch.progress)
    expected = term(Output(rows(student, kept)), Output(rows(teacher, kept)), apart)
    found = term(Output(student), Output(teacher), batch)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", [*TERMS, "cwd"])
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_an_ignored_pixel_has_a_gradient_of_exactly_zero(name: str, size: float) -> None:
    """However large its logits are, and whatever the teacher says there."""
    term, batch = (TERMS | {"cwd": lambda: CWD(None)})[name](), masks()
    (student, teacher), here = logits(), (batch.y != IGNORED).unsqueeze(1)
    wild = torch.where(here, student.detach(), size * student.detach()).requires_grad_()
    value = term(Output(wild), Output(torch.where(here, teacher, -size * teacher)), batch)
    (gradient,) = torch.autograd.grad(value, wild)
    assert not gradient[~here.expand_as(gradient)].any()
    assert gradient[here.expand_as(gradient)].abs().gt(0).double().mean() > 0.9
    calm = term(Output(student), Output(teacher), batch)
    torch.testing.assert_close(value, calm, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*TERMS, "cwd"])
def test_without_any_label_the_loss_is_zero_and_moves_nothing(name: str) -> None:
    term, batch = (TERMS | {"cwd": lambda: CWD(None)})[name](), masks()
    student, teacher = logits()
    nothing = batch._replace(y=torch.full_like(batch.y, IGNORED))
    value = term(Output(student), Output(teacher), nothing)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", [*TERMS, "cwd"])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_number_at_an_ignored_pixel_moves_no_value(name: str, broken: float) -> None:
    term, batch = (TERMS | {"cwd": lambda: CWD(None)})[name](), masks()
    (student, teacher), here = logits(), (batch.y != IGNORED).unsqueeze(1)
    wild, calm = ([Output(torch.where(here, x, fill)) for x in (student, teacher)] for fill in (broken, 0.0))
    torch.testing.assert_close(term(*wild, batch), term(*calm, batch), rtol=1e-12, atol=1e-12)


@terms
def test_images_without_a_label_teach_as_before(name: str) -> None:
    """An image that nobody labelled is no padding: only DKD, which needs the class, leaves it out."""
    term = TERMS[name]()
    student, teacher = (x[..., 0, 0] for x in logits(6))
    labels = torch.tensor([0, 1, IGNORED, 2, IGNORED, 3])
    some = Batch((torch.zeros(0),), labels, None, torch.tensor(0.5))
    assert some.kept is None
    every = some._replace(y=torch.tensor([0, 1, 4, 2, 4, 3]))
    one, two = (term(Output(student), Output(teacher), each) for each in (some, every))
    assert torch.equal(one, two) == (name != "dkd")


def test_the_relations_of_dist_take_positions_too() -> None:
    (student, teacher), kept = logits(), masks().y != IGNORED
    for part in (inter_class, intra_class):
        found = part(student, teacher, 2.0, kept)
        torch.testing.assert_close(found, part(rows(student, kept), rows(teacher, kept), 2.0))
        assert part(student, teacher, 2.0, torch.zeros_like(kept)).item() == 0


@pytest.mark.parametrize("target", ["each", "mean_probabilities", "mean_logits"])
def test_mutual_learning_is_that_of_the_kept_pixels(target: Any) -> None:
    kept = masks().y != IGNORED
    learners = 3 * torch.randn(2, 3, CLASSES, SIZE, SIZE, dtype=torch.float64)
    others = 3 * torch.randn(4, 2, 3, CLASSES, SIZE, SIZE, dtype=torch.float64)
    found = mutual_kl(learners, others, 2.0, target, kept)
    apart = [x.movedim(-3, -1)[..., kept, :] for x in (learners, others)]
    torch.testing.assert_close(found, mutual_kl(*apart, 2.0, target))


def test_slkd_is_that_of_the_kept_pixels() -> None:
    batch = masks()
    kept, three = batch.y != IGNORED, [logits()[1] for _ in range(3)]
    apart, labels = [rows(x, kept) for x in three], batch.y[kept]
    found = student_losses(*three, batch.y, 0.1, 4.0, 1.0, 3.0, kept)
    expected = student_losses(*apart, labels, 0.1, 4.0, 1.0, 3.0)
    found |= sl_losses(three[:2], three[2], batch.y, 0.1, 4.0, kept)
    expected |= sl_losses(apart[:2], apart[2], labels, 0.1, 4.0)
    assert len(found) == 7
    torch.testing.assert_close(found, expected)


# ---------------------------------------------------------------- whole methods


def predictions(method: Method, batch: Batch) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The terms of every turn, and the logits that networks with gradients gave on the way."""
    seen: list[Tensor] = []

    def note(module: object, inputs: object, output: Output) -> None:
        if output.logits.requires_grad:
            output.logits.retain_grad()
            seen.append(output.logits)

    for module in method.modules():
        if isinstance(module, DenseNetwork | DenseSelfTeacher):
            module.register_forward_hook(note)
    torch.manual_seed(0)
    losses = {k: v for turn in range(method.turns) for k, v in method(batch, turn).items()}
    return losses, seen


dense = pytest.mark.parametrize("case", DENSE.values(), ids=DENSE.keys())


@dense
def test_no_network_of_a_method_learns_from_an_ignored_pixel(case: Case) -> None:
    batch = batch_of_masks(4)
    losses, seen = predictions(seeded(case.make).train(), batch)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    gradients = [logits.grad for logits in seen if logits.grad is not None]
    assert seen
    assert gradients or losses.keys() == {"hint"}  # which reads no logits
    for gradient in gradients:
        ignored = (batch.y == IGNORED).unsqueeze(1).expand_as(gradient)
        assert not gradient[ignored].any()
        assert gradient[~ignored].any()


@dense
def test_a_batch_without_any_label_is_finite(case: Case) -> None:
    batch = batch_of_masks(4)
    method = seeded(case.make).train()
    losses, _ = predictions(method, batch._replace(y=torch.full_like(batch.y, IGNORED)))
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.mark.parametrize(
    ("shape", "y"), [((2, 5), (2, 8, 8)), ((2, 5, 4, 4), (2, 8, 8)), ((2, 5, 8, 8), (2,))]
)
def test_predictions_that_do_not_fit_the_labels_are_refused(shape: Any, y: Any) -> None:
    with pytest.raises(ValueError, match=r"do not fit labels .* \(B, K, H, W\) of the image's size"):
        cross_entropy(torch.zeros(shape), torch.zeros(y, dtype=torch.int64))
