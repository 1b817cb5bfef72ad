"""CL-ILR: the loss against a loop from the paper; the rescaled gradient; who learns from whom."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from naive import softmax
from torch import Tensor, nn
from zoo import CLASSES, batch, seeded, toy, toy_wide

from cohobate.core import Group, Output, Separate
from cohobate.methods.cl_ilr import CLILR, consensus, rescaled
from cohobate.models.surgery.branch import branch

SHAPE = (3, 8, 8)


def loss_of_head(
    h: int, logits: list[list[list[float]]], y: list[int], beta: float, tau: float
) -> tuple[float, float]:
    """A sample at a time: the share of the labels, and that of the other heads."""
    hard = soft = 0.0
    for b, label in enumerate(y):
        rest = [logits[j][b] for j in range(len(logits)) if j != h]
        q = softmax([sum(column) / len(rest) for column in zip(*rest, strict=True)], tau)
        p = softmax(logits[h][b], tau)
        hard -= math.log(softmax(logits[h][b], 1.0)[label]) / len(y)
        soft += sum(a * (math.log(a) - math.log(c)) for a, c in zip(q, p, strict=True)) / len(y)
    return beta * hard, (1 - beta) * tau**2 * soft


class Heads(Group):
    """A trunk and heads that compile at once; whole networks are the contract test's."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.tails = nn.ModuleList(Tail() for _ in range(count))

    def __len__(self) -> int:
        return len(self.tails)

    def forward(self, x: Tensor) -> tuple[Output, ...]:
        return tuple(tail(*self.trunk(x)) for tail in self.tails)


class Trunk(nn.Module):
    """Two tensors and two other things cross the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(192, 6)
        self.two = nn.Linear(192, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        x = x.flatten(1)
        return self.one(x), self.two(x), torch.arange(6, device=x.device), 0.5


class Tail(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, CLASSES)
        self.norm = nn.BatchNorm1d(CLASSES)

    def forward(self, one: Tensor, two: Tensor, order: Tensor, scale: float) -> Output:
        return Output(self.norm(self.fc(one.tanh() + scale * two[:, order])))


def heads(count: int = 3, **how: object) -> CLILR:
    return CLILR(Heads(count), **how).double().train()  # type: ignore[arg-type]


def total(method: CLILR) -> Tensor:
    return torch.stack(list(method(batch(8, torch.float64)).values())).sum()


# ---------------------------------------------------------------- equations


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(("beta", "tau"), [(0.5, 2.0), (0.9, 1.0)])
def test_the_loss(count: int, beta: float, tau: float) -> None:
    method = heads(count, beta=beta, temperature=tau)
    found = method(batch(8, torch.float64))
    logits = [output.logits.tolist() for output in method.group(batch(8, torch.float64).x)]
    y = batch(8).y.tolist()
    expected = [loss_of_head(h, logits, y, beta, tau) for h in range(count)]
    assert list(found) == ["ce", "kl"]
    assert found["ce"].item() == pytest.approx(sum(hard for hard, _ in expected), rel=1e-12)
    assert found["kl"].item() == pytest.approx(sum(soft for _, soft in expected), rel=1e-10)


def test_consensus() -> None:
    logits = torch.randn(4, 5, 7, dtype=torch.float64)
    for h, found in enumerate(consensus(logits)):
        torch.testing.assert_close(found, (logits.sum(0) - logits[h]) / 3)


def test_without_temperature_squared_it_is_the_same_loss_with_another_beta() -> None:
    """As the header says: beta = 0.5 without T^2, at T = 2, is 0.8 with it, up to the scale 0.5 / 0.8."""
    method = seeded(lambda: heads(beta=0.5, temperature=2.0))
    other = deepcopy(method)
    other.beta = 0.8
    one, two = method(batch(8, torch.float64)), other(batch(8, torch.float64))
    torch.testing.assert_close(one["ce"] + one["kl"] / 4, (two["ce"] + two["kl"]) * 0.5 / 0.8)


def test_gradients() -> None:
    """By the heads' own weights, where nothing is rescaled."""
    method = heads(2, detach=False).eval()
    data = batch(2, torch.float64)

    def terms(weight: Tensor) -> Tensor:
        swapped = {"group.tails.0.fc.weight": weight}
        return torch.stack(list(torch.func.functional_call(method, swapped, (data,)).values()))

    weight = method.group.tails[0].fc.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(terms, (weight,))


@pytest.mark.parametrize("detach", [True, False])
def test_whom_the_kl_reaches(detach: bool) -> None:
    """A head learns by its own soft loss; where told to, by those of its pupils too."""
    method = heads(3, detach=detach)
    weight = method.group.tails[1].fc.weight
    (found,) = torch.autograd.grad(method(batch(8, torch.float64))["kl"], weight)
    z = [output.logits for output in method.group(batch(8, torch.float64).x)]
    targets = [(z[1] + z[2]) / 2, (z[0] + z[2]) / 2, (z[0] + z[1]) / 2]
    soft = [
        F.kl_div(
            F.log_softmax(own / 2, 1), F.log_softmax(other / 2, 1), reduction="batchmean", log_target=True
        )
        for own, other in zip(z, [t.detach() for t in targets] if detach else targets, strict=True)
    ]
    if detach:
        assert all(torch.autograd.grad(soft[h], weight, allow_unused=True)[0] is None for h in (0, 2))
    (expected,) = torch.autograd.grad(0.5 * 4 * (soft[1] if detach else sum(soft)), weight)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected)


# ---------------------------------------------------------------- back-propagation rescaling


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_rescaled_is_the_tensor_with_a_share_of_its_gradient(dtype: torch.dtype, count: int) -> None:
    """Bit by bit, whatever the size of its numbers."""
    x = (torch.randn(300, dtype=dtype) * torch.logspace(-37, 37, 300)).to(dtype).requires_grad_()
    y = rescaled(x, count)
    assert torch.equal(x, y)
    sent = torch.randn(300, dtype=dtype)
    (gradient,) = torch.autograd.grad(y, x, sent)
    torch.testing.assert_close(gradient, sent / count)


def test_rescaled_keeps_the_memory_format() -> None:
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert rescaled(x, 3).is_contiguous(memory_format=torch.channels_last)


def test_other_values_pass() -> None:
    order = torch.arange(3)
    assert rescaled(order, 4) is order
    assert rescaled("nearest", 4) == "nearest"


@pytest.mark.parametrize("make", [toy, toy_wide])
@pytest.mark.parametrize("count", [2, 3])
def test_the_trunk_gets_the_mean_and_the_tails_what_they_had(make: object, count: int) -> None:
    group = branch(make(), at=2, tails=count, shape=SHAPE).double().train()  # type: ignore[operator]
    with_it, without = CLILR(group), CLILR(deepcopy(group), rescale=False)
    one, two = with_it(batch(8, torch.float64)), without(batch(8, torch.float64))
    for name in one:
        assert torch.equal(one[name], two[name])
    sum(one.values()).backward()  # type: ignore[union-attr]
    sum(two.values()).backward()  # type: ignore[union-attr]
    trunks = zip(with_it.group.trunk.parameters(), without.group.trunk.parameters(), strict=True)
    tails = zip(with_it.group.tails.parameters(), without.group.tails.parameters(), strict=True)
    for p, q in trunks:
        torch.testing.assert_close(p.grad, q.grad / count, rtol=1e-9, atol=1e-12)
    for p, q in tails:
        assert torch.equal(p.grad, q.grad)
    # Batch-norm statistics, too, are those of the plain pass.
    pairs = zip(with_it.buffers(), without.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# ---------------------------------------------------------------- the method


def test_predictions() -> None:
    method = CLILR(branch(toy(), at=1, tails=3, shape=SHAPE)).eval()
    assert method.peer_readouts == ("peer_1", "peer_2", "peer_3")
    x = batch().x
    with torch.no_grad():
        found = method.readouts(x)
        predictors = method.predictors()
        assert list(found) == list(predictors) == [*method.peer_readouts, "ensemble"]
        for name, predictor in predictors.items():
            torch.testing.assert_close(predictor(x), found[name])
    assert predictors["peer_1"].state_dict().keys() == toy().state_dict().keys()


def test_soft_labels() -> None:
    hard = batch(8, torch.float64)
    method = heads()
    one = method(hard)
    two = method(hard._replace(y=F.one_hot(hard.y, CLASSES).double()))
    for name in one:
        torch.testing.assert_close(one[name], two[name])


@pytest.mark.parametrize("how", [{}, {"detach": False, "rescale": False}])
def test_compiled_equals_eager(how: dict[str, object]) -> None:
    eager = heads(**how)  # type: ignore[arg-type]
    method = deepcopy(eager)
    torch._dynamo.reset()
    method.compile(backend="aot_eager", fullgraph=True, dynamic=False)
    one, two = total(eager), total(method)
    torch.testing.assert_close(one, two)
    one.backward()  # type: ignore[no-untyped-call]
    two.backward()  # type: ignore[no-untyped-call]
    for p, q in zip(eager.parameters(), method.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_under_autocast_terms_are_float32() -> None:
    method = CLILR(branch(toy(), at=2, tails=2, shape=SHAPE)).train()
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(batch())
    assert all(v.dtype == torch.float32 for v in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"beta": 1.5}, "beta must be at most 1, got 1.5"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
    ],
)
def test_bad_arguments(how: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heads(**how)  # type: ignore[arg-type]


def test_networks_without_a_trunk_are_refused() -> None:
    with pytest.raises(ValueError, match=r"CLILR needs a group with a trunk and tails .*, got Separate"):
        CLILR(Separate([toy(), toy()]))


def test_one_head_is_refused() -> None:
    with pytest.raises(ValueError, match="CLILR needs two networks or more, got 1"):
        heads(1)
