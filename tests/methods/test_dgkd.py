"""Densely guided distillation, against a loop over the guides and images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from zoo import batch, seeded, toy, toy_wide

from cohobate.core import Batch, Frozen, as_output
from cohobate.methods.dgkd import DGKD
from cohobate.methods.distillation import Distillation
from cohobate.methods.kd import KD


def log_softmax(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(z) for z in row))
    return [z - total for z in row]


def naive(student: Tensor, guides: list[Tensor], y: Tensor, weight: float, tau: float) -> dict[str, float]:
    """An image and a guide at a time, in Python floats: the paper's sum, divided by n + 1."""
    rows, labels, n = student.tolist(), y.tolist(), len(guides)
    ce = -sum(log_softmax(row)[label] for row, label in zip(rows, labels, strict=True)) / len(rows)
    losses = {"ce": (n * (1 - weight) * ce) / n}
    for i, guide in enumerate(guides):
        total = 0.0
        for row, target in zip(rows, guide.tolist(), strict=True):
            log_q = log_softmax([z / tau for z in row])
            log_p = log_softmax([z / tau for z in target])
            total += sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))
        losses[f"kd_{i}"] = weight * tau**2 * total / len(rows) / n
    return losses


def logits_of(method: DGKD, given: Batch) -> tuple[Tensor, list[Tensor]]:
    """Of the student, in the mode that it is in, and of the guides."""
    with torch.no_grad():
        student = as_output(method.student(given.x)).logits
    return student, [guide(given.x).logits for guide in method.guides]


@pytest.mark.parametrize("guides", [1, 3])
def test_the_losses_are_the_naive_ones(guides: int) -> None:
    given = batch(dtype=torch.float64)
    method = DGKD(toy(), [toy_wide() for _ in range(guides)], weight=0.7, temperature=3.0).double()
    losses = method(given)
    expected = naive(*logits_of(method, given), given.y, 0.7, 3.0)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-10), name


def test_the_gradient_is_that_of_the_papers_sum_over_the_guides() -> None:
    """At the logits: (1 - lambda) (q - y) + lambda tau (q_tau - mean of p_tau), over the batch."""
    given = batch(dtype=torch.float64)
    method = DGKD(toy(), [toy(), toy_wide()], weight=0.6, temperature=2.0).double()
    logits = as_output(method.student(given.x)).logits.detach().requires_grad_()
    fixed = lambda x: logits  # noqa: E731
    method.student.forward = fixed  # type: ignore[method-assign]
    (gradient,) = torch.autograd.grad(sum(method(given).values()), logits)
    q, soft_q = logits.detach().softmax(1), (logits.detach() / 2).softmax(1)
    p = torch.stack([(guide(given.x).logits / 2).softmax(1) for guide in method.guides]).mean(0)
    y = torch.nn.functional.one_hot(given.y, q.shape[1])
    expected = (0.4 * (q - y) + 0.6 * 2.0 * (soft_q - p)) / len(q)
    torch.testing.assert_close(gradient, expected)


def test_one_guide_without_drop_is_plain_distillation() -> None:
    student, teacher, given = toy(), Frozen(toy_wide()), batch()
    ours = DGKD(student, [teacher], weight=0.9, temperature=4.0)(given)
    theirs = Distillation(student, teacher, {"kd": KD(temperature=4.0, weight=0.9)}, ce_weight=1 - 0.9)(given)
    assert torch.equal(ours["ce"], theirs["ce"])
    assert torch.equal(ours["kd_0"], theirs["kd"])


def test_a_guide_is_silent_as_often_as_drop_says() -> None:
    """Each guide on its own; who speaks is not made louder."""
    given, steps = batch(2), 400
    method = DGKD(toy(), [toy(), toy()], drop=0.25).eval()
    full = DGKD(method.student, list(method.guides)).eval()(given)
    with torch.no_grad():
        seen = [method(given) for _ in range(steps)]
    spoke = torch.tensor([[losses[f"kd_{i}"] > 0 for i in range(2)] for losses in seen])
    for losses, speaks in zip(seen, spoke.tolist(), strict=True):
        assert torch.equal(losses["ce"], full["ce"])
        for i, speaking in enumerate(speaks):
            expected = full[f"kd_{i}"] if speaking else torch.zeros(())
            torch.testing.assert_close(losses[f"kd_{i}"], expected, rtol=1e-5, atol=0)
    # Four standard deviations of a share of 400 draws, and of one of their products.
    assert spoke.double().mean(0).tolist() == pytest.approx(
        [0.75, 0.75], abs=4 * math.sqrt(0.25 * 0.75 / steps)
    )
    assert spoke.all(1).double().mean().item() == pytest.approx(0.75**2, abs=4 * 0.5 / math.sqrt(steps))


def test_with_all_guides_silent_the_cross_entropy_is_left_as_it_was() -> None:
    given = batch()
    student, guides = toy(), [Frozen(toy_wide()), Frozen(toy())]
    quiet = DGKD(student, guides, drop=1 - 1e-9)
    losses = quiet(given)
    assert torch.equal(losses["ce"], DGKD(student, guides)(given)["ce"])
    assert losses["kd_0"] == losses["kd_1"] == 0
    sum(losses.values()).backward()
    ours = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    (0.1 * torch.nn.functional.cross_entropy(student(given.x).logits, given.y)).backward()
    for gradient, parameter in zip(ours, student.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_no_gradient_enters_the_guides() -> None:
    method = DGKD(toy(), [toy_wide(), toy()])
    sum(method(batch()).values()).backward()
    for guide in method.guides:
        assert all(p.grad is None and not p.requires_grad for p in guide.network.parameters())
    assert all(p.grad is not None for p in method.student.parameters())
    assert {name.partition(".")[0] for name, _ in method.named_parameters()} == {"student"}
    before = [guide.network.state_dict() for guide in method.guides]
    method.train()(batch())
    assert all(not guide.network.training for guide in method.guides)
    for guide, state in zip(method.guides, before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in guide.network.state_dict().items())


def test_a_guide_that_still_learns_is_copied() -> None:
    guide = toy()
    method = DGKD(toy(), [guide])
    assert method.guides[0].network is not guide
    assert all(p.requires_grad for p in guide.parameters())
    kept = Frozen(guide)
    assert DGKD(toy(), [kept]).guides[0] is kept


def test_soft_labels() -> None:
    given = batch()
    soft = given._replace(y=torch.nn.functional.one_hot(given.y, 5).float())
    method = DGKD(toy(), [toy()])
    for name, value in method(given).items():
        torch.testing.assert_close(method(soft)[name], value)


def test_deploys_the_student() -> None:
    method, x = DGKD(toy(), [toy_wide()]).eval(), batch().x
    (deployed,) = method.predictors().values()
    assert torch.equal(deployed(x), method.student(x).logits)
    assert torch.equal(method.readouts(x)["student"], method.student(x).logits)
    # Which logits it reads is more than one teacher's: there is nothing to keep.
    assert method.reads_logits_of is None


def test_compiled_equals_eager() -> None:
    given = batch(4, torch.float64)
    make = lambda: DGKD(toy(), [toy(), toy_wide()])  # noqa: E731
    eager, compiled = seeded(make).double(), seeded(make).double()
    step = torch.compile(compiled, backend="aot_eager", fullgraph=True, dynamic=False)
    expected, found = eager(given), step(given)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    for one, other in zip(eager.student.parameters(), compiled.student.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": 1.5}, "weight must be at most 1, got 1.5"),
        ({"weight": -0.1}, "weight must be at least 0, got -0.1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"drop": 1.0}, "drop must be below 1, got 1.0"),
        ({"drop": -0.5}, "drop must be at least 0, got -0.5"),
    ],
)
def test_arguments_out_of_range(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DGKD(toy(), [toy()], **wrong)


def test_no_guide() -> None:
    with pytest.raises(ValueError, match="DGKD needs at least one guide"):
        DGKD(toy(), [])


def test_a_guide_of_other_classes() -> None:
    class Fewer(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    message = r"student logits \(16, 5\) and teacher logits \(16, 3\) differ; both networks must predict"
    with pytest.raises(ValueError, match=message):
        DGKD(toy(), [Fewer()])(batch())
