"""DML: each form of the loss against a loop from the paper; who learns from whom; what groups share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from naive import softmax
from torch import Tensor, nn
from zoo import CLASSES, batch, seeded, toy, toy_bottleneck, toy_wide

from cohobate.core import IGNORED, Group, Output, Separate, as_output, cross_entropy
from cohobate.methods.dml import DML, mean_probabilities, mutual_kl
from cohobate.methods.group import others, predictors, readouts, stack_logits, summed_cross_entropy
from cohobate.methods.kd import softened_kl
from cohobate.models.registry import NETWORKS
from cohobate.models.surgery.branch import branch

TARGETS = ["each", "mean_logits", "mean_probabilities"]


def kl(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def loss_of_peer(k: int, logits: list[list[list[float]]], tau: float, target: str) -> float:
    """A sample at a time, as the paper writes it."""
    total = 0.0
    samples = range(len(logits[0]))
    for b in samples:
        rest = [logits[j][b] for j in range(len(logits)) if j != k]
        q = softmax(logits[k][b], tau)
        if target == "each":
            total += sum(kl(softmax(row, tau), q) for row in rest) / len(rest)
        elif target == "mean_logits":
            total += kl(softmax(mean(rest), tau), q)
        else:
            total += kl(mean([softmax(row, tau) for row in rest]), q)
    return tau**2 * total / len(samples)


def made(count: int, rows: int = 5, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(count, rows, 7, dtype=torch.float64)


def total(method: DML, seed: int = 0, turn: int = 0) -> Tensor:
    return torch.stack(list(method(batch(8 + seed, torch.float64), turn).values())).sum()


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


def dml(count: int = 3, **how: object) -> DML:
    networks = [toy(), toy_wide(), toy_bottleneck()][:count]
    return DML(Separate(networks), **how).double().train()  # type: ignore[arg-type]


# ---------------------------------------------------------------- equations


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_the_loss(target: str, count: int, tau: float) -> None:
    logits = made(count)
    found = mutual_kl(logits, others(logits), tau, target)  # type: ignore[arg-type]
    expected = [loss_of_peer(k, logits.tolist(), tau, target) for k in range(count)]
    assert found.item() == pytest.approx(sum(expected), rel=1e-12)
    for k in range(count):
        rest = torch.stack([logits[j] for j in range(count) if j != k])[:, None]
        alone = mutual_kl(logits[k : k + 1], rest, tau, target)  # type: ignore[arg-type]
        assert alone.item() == pytest.approx(expected[k], rel=1e-12)


def test_the_targets_differ_from_three_networks_on() -> None:
    for count, values in ((2, 1), (3, 3)):
        logits = made(count)
        found = {round(mutual_kl(logits, others(logits), 2.0, t).item(), 9) for t in TARGETS}  # type: ignore[arg-type]
        assert len(found) == values


def test_others() -> None:
    found = others(torch.arange(4)[:, None])
    assert found.shape == (3, 4, 1)
    for i in range(4):
        assert set(found[:, i, 0].tolist()) == set(range(4)) - {i}


def test_dense_predictions_are_so_many_samples() -> None:
    dense = torch.randn(3, 2, 5, 4, 3, dtype=torch.float64)
    flat = dense.movedim(2, -1).flatten(1, 3)
    for target in TARGETS:
        one, two = (mutual_kl(z, others(z), 2.0, target) for z in (dense, flat))  # type: ignore[arg-type]
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("target", TARGETS)
def test_gradients(target: str) -> None:
    logits = made(3, rows=2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: mutual_kl(z, others(z), 2.0, target),  # type: ignore[arg-type]
        (logits,),
    )
    assert torch.autograd.gradcheck(lambda z: mean_probabilities(others(z), 2.0), (logits,))


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_to_learn_from_those_who_agree(target: str) -> None:
    logits = made(1).expand(3, -1, -1)
    assert mutual_kl(logits, others(logits), 3.0, target).item() == pytest.approx(0, abs=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", TARGETS)
def test_finite_far_out(target: str) -> None:
    logits = torch.tensor([[[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]], [[0.0, 0.0, 1e4]]], requires_grad=True)
    loss = mutual_kl(logits, others(logits), 1.0, target)  # type: ignore[arg-type]
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("target", TARGETS)
def test_half_precision_is_computed_in_float32(target: str) -> None:
    half = torch.randn(3, 4, 6).bfloat16()
    y = torch.randint(6, (4,))

    def everything(z: Tensor) -> tuple[Tensor, Tensor]:
        return mutual_kl(z, others(z), 2.0, target), summed_cross_entropy(z, y)  # type: ignore[arg-type]

    with torch.autocast("cpu", torch.bfloat16):
        rounded = everything(half)
    for one, two in zip(rounded, everything(half.float()), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, two)


# ---------------------------------------------------------------- what groups share


@pytest.mark.parametrize(
    "kind", ["ids", "ids, some ignored", "all ignored", "probabilities", "dense", "dense soft"]
)
def test_summed_cross_entropy_is_the_sum_of_single_ones(kind: str) -> None:
    shape = (3, 6, 5, 2, 4) if "dense" in kind else (3, 6, 5)
    logits = torch.randn(shape, dtype=torch.float64)
    y = torch.randint(5, (6, 2, 4) if "dense" in kind else (6,))
    if kind in ("probabilities", "dense soft"):
        y = torch.randn(shape[1:], dtype=torch.float64).softmax(1)
    elif kind == "all ignored":
        y = torch.full_like(y, IGNORED)
    elif kind != "ids":
        y[1:3] = IGNORED
    expected = sum(cross_entropy(z, y) for z in logits)
    torch.testing.assert_close(summed_cross_entropy(logits, y), expected)


def test_readouts_equal_predictors_and_name_the_peers() -> None:
    group = Separate([toy(), toy_wide(), toy_bottleneck()]).eval()
    x = batch().x
    with torch.no_grad():
        found = readouts(group(x))
        assert list(found) == ["peer_1", "peer_2", "peer_3", "ensemble"]
        for name, predictor in predictors(group, range(3)).items():
            torch.testing.assert_close(predictor(x), found[name])
    torch.testing.assert_close(found["ensemble"], sum(found[f"peer_{i}"] for i in (1, 2, 3)) / 3)
    some = predictors(group, [2, 0])
    assert torch.equal(some["peer_1"](x), found["peer_3"])
    torch.testing.assert_close(some["ensemble"](x), (found["peer_3"] + found["peer_1"]) / 2)


def test_one_member_is_no_ensemble() -> None:
    group = Separate([toy(), toy()])
    assert list(predictors(group, [1])) == ["peer_1"]
    assert list(readouts(group(batch().x)[:1])) == ["peer_1"]


# ---------------------------------------------------------------- who learns from whom


@pytest.mark.parametrize("target", TARGETS)
def test_together_equals_each_trained_alone_by_its_own_loss(target: str) -> None:
    one = seeded(lambda: dml(target=target, weight=0.7, temperature=2.0))
    assert isinstance(one, DML)
    two = deepcopy(one)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, weight_decay=0.01)
    total(one).backward()  # type: ignore[no-untyped-call]
    optimizer.step()

    data = batch(8, torch.float64)
    networks = [two.group.alone(i) for i in range(3)]
    with torch.no_grad():
        said = [output.logits for output in deepcopy(two.group)(data.x)]
    for k, network in enumerate(networks):
        own = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.01)
        logits = as_output(network(data.x)).logits
        rest = torch.stack([z for j, z in enumerate(said) if j != k])
        if target == "mean_logits":
            rest = rest.mean(0, keepdim=True)
        elif target == "mean_probabilities":
            rest = 2.0 * (rest / 2.0).softmax(2).mean(0, keepdim=True).log()
        mutual = sum(softened_kl(logits, z, temperature=2.0) for z in rest) / len(rest)
        (cross_entropy(logits, data.y) + 0.7 * mutual).backward()
        own.step()
    for key, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[key], rtol=1e-10, atol=1e-12)


class Constants(Group):
    """Networks that say the same to every image."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.said = nn.ParameterList(torch.randn(CLASSES) for _ in range(count))

    def __len__(self) -> int:
        return len(self.said)

    def forward(self, x: Tensor) -> tuple[Output, ...]:
        return tuple(Output(z.expand(len(x), -1)) for z in self.said)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("detach", [True, False])
def test_what_a_target_sends_back(target: str, detach: bool) -> None:
    """The gradient of the KL in network 1: of its own KL only, or of all."""
    group = Constants(3)
    method = DML(group, target=target, detach=detach)  # type: ignore[arg-type]
    (found,) = torch.autograd.grad(method(batch(4))["kl"], group.said[0])
    free = stack_logits(group(batch(4).x)).detach().requires_grad_()
    rest = others(free)
    own = mutual_kl(free[:1], rest[:, :1].detach(), 1.0, target)  # type: ignore[arg-type]
    every = mutual_kl(free, rest, 1.0, target)  # type: ignore[arg-type]
    expected = torch.autograd.grad(own if detach else every, free)[0][0].sum(0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("detach", [True, False])
def test_whom_the_kl_reaches(target: str, detach: bool) -> None:
    """Two networks, the first without a gradient of its own: only a free target sends it one."""
    group = Constants(2)
    said = [output.logits for output in group(batch(4).x)]
    logits = torch.stack([said[0].detach(), said[1]])
    rest = others(torch.stack(said).detach() if detach else torch.stack(said))
    loss = mutual_kl(logits, rest, 1.0, target)  # type: ignore[arg-type]
    reached = torch.autograd.grad(loss, list(group.said), allow_unused=True)
    assert [g is not None for g in reached] == [not detach, True]


@pytest.mark.parametrize("count", [2, 3])
def test_terms_and_names(count: int) -> None:
    method = dml(count)
    assert list(method(batch(8, torch.float64))) == ["ce", "kl"]
    assert (method.turns, method.rests) == (1, False)
    assert method.peer_readouts == tuple(f"peer_{i + 1}" for i in range(count))
    assert list(method.predictors()) == [*method.peer_readouts, "ensemble"]
    assert list(method.readouts(batch(8, torch.float64).x)) == [*method.peer_readouts, "ensemble"]
    turns = dml(count, in_turns=True)
    assert (turns.turns, turns.rests) == (count, True)
    assert list(turns(batch(8, torch.float64), 1)) == ["ce_2", "kl_2"]


def test_branches_may_learn_from_one_another() -> None:
    method = DML(branch(toy(), at=2, tails=2, shape=(3, 8, 8)))
    terms = method(batch())
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in method.parameters())


def test_soft_labels() -> None:
    data = batch(8, torch.float64)
    soft = data._replace(y=F.one_hot(data.y, CLASSES).double())
    method = dml()
    one, two = method(data), method(soft)
    for name in one:
        torch.testing.assert_close(one[name], two[name])


def test_size() -> None:
    """Three ResNet-32 of 472,756: the 1.4M that Self-Guidance prints."""
    group = Separate([NETWORKS["resnet32"].make(classes=100) for _ in range(3)])
    trained = sum(p.numel() for p in DML(group).parameters())
    assert trained == 3 * 472_756
    assert f"{trained / 1e6:.1f}M" == "1.4M"


# ---------------------------------------------------------------- in turns


def test_in_turns_only_one_learns() -> None:
    method = dml(in_turns=True)
    for turn in range(3):
        before = deepcopy(method.group)
        method.zero_grad()
        total(method, turn=turn).backward()  # type: ignore[no-untyped-call]
        for i in range(3):
            network, old = method.group.alone(i), before.alone(i)
            assert all((p.grad is not None) == (i == turn) for p in network.parameters())
            buffers = zip(network.buffers(), old.buffers(), strict=True)
            assert all(torch.equal(a, b) for a, b in buffers) == (i != turn)


@pytest.mark.parametrize("target", TARGETS)
def test_in_turns_by_hand(target: str) -> None:
    """Algorithm 1: predict, update one, predict anew, update the next."""
    one = seeded(lambda: dml(in_turns=True, target=target, temperature=2.0, weight=0.5))
    assert isinstance(one, DML)
    two = deepcopy(one)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    networks = [two.group.alone(i) for i in range(3)]
    own = [torch.optim.SGD(n.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01) for n in networks]
    for seed in range(2):
        data = batch(8 + seed, torch.float64)
        for turn in range(one.turns):
            total(one, seed, turn).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        for k, network in enumerate(networks):
            with torch.no_grad():
                said = [as_output(deepcopy(n)(data.x)).logits for j, n in enumerate(networks) if j != k]
            logits = as_output(network(data.x)).logits
            mutual = mutual_kl(logits[None], torch.stack(said)[:, None], 2.0, target)  # type: ignore[arg-type]
            (cross_entropy(logits, data.y) + 0.5 * mutual).backward()
            own[k].step()
            own[k].zero_grad()
    for key, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[key], rtol=1e-10, atol=1e-12)


def test_in_turns_statistics_move_once() -> None:
    method = dml(in_turns=True)
    for turn in range(3):
        method(batch(8, torch.float64), turn)
    counts = [v for k, v in method.state_dict().items() if k.endswith("num_batches_tracked")]
    assert {int(v) for v in counts} == {1}


def test_the_first_turn_is_together_of_the_first() -> None:
    turns = seeded(lambda: dml(in_turns=True))
    assert isinstance(turns, DML)
    together = DML(deepcopy(turns.group))
    total(turns).backward()  # type: ignore[no-untyped-call]
    total(together).backward()  # type: ignore[no-untyped-call]
    pairs = zip(turns.group.alone(0).parameters(), together.group.alone(0).parameters(), strict=True)
    for p, q in pairs:
        torch.testing.assert_close(p.grad, q.grad)


# ---------------------------------------------------------------- compiled


def tiny() -> nn.Module:
    """Compiles at once; whole networks are the contract test's."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES), nn.BatchNorm1d(CLASSES))


FORMS: dict[str, dict[str, object]] = {
    "together": {},
    "mean logits, not detached": {"target": "mean_logits", "temperature": 3.0, "detach": False},
    "mean probabilities, in turns": {"target": "mean_probabilities", "in_turns": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_compiled_equals_eager(form: str) -> None:
    eager = DML(Separate([tiny(), tiny(), tiny()]), **FORMS[form]).double().train()  # type: ignore[arg-type]
    method = deepcopy(eager)
    torch._dynamo.reset()
    method.compile(backend="aot_eager", fullgraph=True, dynamic=False)
    for turn in range(method.turns):
        one, two = total(eager, turn=turn), total(method, turn=turn)
        torch.testing.assert_close(one, two)
        one.backward()  # type: ignore[no-untyped-call]
        two.backward()  # type: ignore[no-untyped-call]
    for p, q in zip(eager.parameters(), method.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    assert all(torch.allclose(v, method.state_dict()[k]) for k, v in eager.state_dict().items())


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"weight": -1.0}, "weight must be at least 0, got -1.0"),
        ({"temperature": 0}, "temperature must be above 0, got 0"),
        (
            {"target": "mean"},
            "target must be one of 'each', 'mean_probabilities', 'mean_logits', got 'mean'",
        ),
        ({"in_turns": True, "detach": False}, "detach=False needs in_turns=False"),
    ],
)
def test_bad_arguments(how: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DML(Separate([toy(), toy()]), **how)  # type: ignore[arg-type]


def test_one_network_is_refused() -> None:
    with pytest.raises(ValueError, match="DML needs two networks or more, got 1"):
        DML(Separate([toy()]))


def test_shared_layers_cannot_rest() -> None:
    with pytest.raises(ValueError, match=r"share nothing \(Separate\), got Branched"):
        DML(branch(toy(), at=2, tails=2, shape=(3, 8, 8)), in_turns=True)


def test_other_classes_are_refused() -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    for in_turns in (False, True):
        with pytest.raises(ValueError, match=r"same classes, got \[\(16, 5\), \(16, 7\)\]"):
            DML(Separate([toy(), other]), in_turns=in_turns)(batch())
