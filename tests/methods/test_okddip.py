"""OKDDip: attention and both levels against loops, gradient routes, who leads, its sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from naive import kl, softmax
from torch import Tensor, nn
from zoo import CLASSES, SIZE, batch, seeded, toy, toy_wide

from cohobate.analysis.cost import cost
from cohobate.core import Group, Separate
from cohobate.methods.kd import softened_kl
from cohobate.methods.okddip import SelfAttention, TwoLevel, attend
from cohobate.methods.one import BranchGate
from cohobate.models.build import build
from cohobate.models.surgery.branch import branch

T = 3.0


def two_level(peers: int = 3, **how: object) -> TwoLevel:
    group = branch(toy(), 2, peers + 1, (3, SIZE, SIZE))
    return TwoLevel(group, SelfAttention(8, reduced=4), **how).double()  # type: ignore[arg-type]


def test_attention_against_a_loop() -> None:
    torch.manual_seed(0)
    query, key = (torch.randn(3, 2, 4, dtype=torch.float64) for _ in range(2))
    found = attend(query, key)
    for image in range(2):
        for a in range(3):
            scores = [
                sum(query[a, image, d].item() * key[b, image, d].item() for d in range(4)) for b in range(3)
            ]
            assert found[image, a].tolist() == pytest.approx(softmax(scores))
    torch.testing.assert_close(found.sum(dim=2), torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("leader_target", ["peers", "all"])
def test_both_levels_against_a_loop(leader_target: str) -> None:
    method = seeded(lambda: two_level(alpha=0.7, beta=2.0, ramp=0.0, leader_target=leader_target)).eval()
    data = batch(dtype=torch.float64)
    found = method(data)
    leader, *peers = (output.logits.tolist() for output in method.group(data.x))
    weights = method.attention(method.group(data.x)[1:]).tolist()  # type: ignore[operator]
    expected = dict.fromkeys(found, 0.0)
    for b, label in enumerate(data.y.tolist()):
        expected["ce_leader"] -= math.log(softmax(leader[b])[label])
        for a, peer in enumerate(peers):
            target = [sum(weights[b][a][c] * peers[c][b][k] for c in range(3)) for k in range(CLASSES)]
            expected["ce_peers"] -= math.log(softmax(peer[b])[label])
            expected["kl_peers"] += 0.7 * T**2 * kl(target, peer[b], T)
        voices = peers if leader_target == "peers" else [*peers, leader]
        mean = [sum(v[b][k] for v in voices) / len(voices) for k in range(CLASSES)]
        expected["kl_leader"] += 2.0 * T**2 * kl(mean, leader[b], T)
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name] / 16, rel=1e-9), name


def routes(method: TwoLevel, term: str) -> set[str]:
    """Which parts a term moves: leader, peers, trunk, attention."""
    loss = method(batch(dtype=torch.float64))[term]
    names, parameters = zip(*method.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    places = {
        "group.tails.0": "leader",
        "group.tails": "peers",
        "group.trunk": "trunk",
        "attention": "attention",
    }
    return {
        next(place for prefix, place in places.items() if name.startswith(prefix))
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None and gradient.abs().max() > 0
    }


def test_who_learns_from_which_term() -> None:
    method = seeded(two_level)
    assert routes(method, "ce_leader") == {"leader", "trunk"}
    assert routes(method, "ce_peers") == {"peers", "trunk"}
    assert routes(method, "kl_peers") == {"peers", "trunk", "attention"}
    assert routes(method, "kl_leader") == {"leader", "trunk"}
    public = seeded(lambda: two_level(detach=False))
    assert routes(public, "kl_peers") == {"peers", "trunk", "attention"}
    assert routes(public, "kl_leader") == {"leader", "peers", "trunk"}


@pytest.mark.parametrize("detach", [True, False])
def test_a_target_moves_only_the_attention(detach: bool) -> None:
    """A peer's classifier learns from its own KL alone; in the public code from all that weigh it, too."""
    method = seeded(lambda: two_level(peers=2, ramp=0.0, detach=detach)).eval()
    group, data = method.group, batch(dtype=torch.float64)
    classifier = group.tails[1].get_submodule("fc").weight  # type: ignore[union-attr, operator]
    (found,) = torch.autograd.grad(method(data)["kl_peers"], [classifier])
    one, other = group(data.x)[1:]
    weights = method.attention([one, other]).detach()
    target = weights[:, 0, :1] * one.logits.detach() + weights[:, 0, 1:] * other.logits.detach()
    (alone,) = torch.autograd.grad(softened_kl(one.logits, target, temperature=T), [classifier])
    assert torch.allclose(found, alone, rtol=1e-9, atol=1e-12) == detach


def test_gradcheck() -> None:
    torch.manual_seed(0)
    pair = [torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(attend, pair)


def test_extreme_and_half_precision_features() -> None:
    large = attend(*(1e4 * torch.randn(3, 2, 4) for _ in range(2)))
    assert torch.isfinite(large).all()
    half = [torch.randn(3, 2, 4).bfloat16() for _ in range(2)]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attend(*half), attend(*(h.float() for h in half)))


def test_one_peer_is_its_own_target() -> None:
    method = seeded(lambda: two_level(peers=1))
    found = method(batch(dtype=torch.float64))
    assert found["kl_peers"].abs() < 1e-12
    assert found["kl_leader"] > 0
    assert list(method.readouts(batch(dtype=torch.float64).x)) == ["leader", "peer_1"]


def test_a_branch_alone_is_itself_inside() -> None:
    method = seeded(two_level)
    for _ in range(2):
        sum(method(batch(dtype=torch.float64)).values()).backward()  # type: ignore[union-attr]
    x = batch(dtype=torch.float64).x
    method.eval()
    inside = method.readouts(x)
    for name, network in method.predictors().items():
        torch.testing.assert_close(network(x), inside[name], rtol=1e-12, atol=1e-12)
    assert list(inside) == ["leader", "peer_1", "peer_2", "peer_3", "ensemble"]
    assert method.peer_readouts == ("peer_1", "peer_2", "peer_3")
    mean = (inside["peer_1"] + inside["peer_2"] + inside["peer_3"]) / 3
    torch.testing.assert_close(inside["ensemble"], mean)


def test_the_trunk_runs_once_in_an_evaluation() -> None:
    method = seeded(two_level).eval()
    runs: list[int] = []
    handle = method.group.trunk.register_forward_hook(lambda *_: runs.append(1))  # type: ignore[operator]
    method.readouts(batch(dtype=torch.float64).x)
    handle.remove()
    assert len(runs) == 1


def test_the_leader_keeps_the_weights_of_the_network() -> None:
    network = toy()
    method = TwoLevel(branch(network, 2, 3, (3, SIZE, SIZE)), SelfAttention(8))
    leader = method.predictors()["leader"].state_dict()
    peer = method.predictors()["peer_1"].state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(value, leader[key])
    assert not torch.equal(peer["fc.weight"], leader["fc.weight"])


def test_networks_of_their_own_and_of_other_architectures() -> None:
    class Narrow(nn.Module):
        """The wide network, its features cut to those of the others."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = toy_wide()

        def forward(self, x: Tensor) -> object:
            output = self.inner(x)
            return output._replace(pooled=output.pooled[:, :8])

    method = TwoLevel(Separate([toy(), toy(), Narrow()]), SelfAttention(8))
    assert all(torch.isfinite(v) for v in method(batch()).values())
    mixed = TwoLevel(Separate([toy(), toy(), toy_wide()]), SelfAttention(8))
    with pytest.raises(ValueError, match="pooled features of 8 numbers, a peer has 64"):
        mixed(batch())


@pytest.mark.parametrize(("classes", "parameters"), [(100, 1_554_272), (10, 1_530_872)])
def test_sizes(classes: int, parameters: int) -> None:
    """1,554,272 (public code, 100 classes); Self-Guidance's tables 2 and 4 print 1.53M (10 classes)."""
    group = branch(build("resnet32", classes), 2, 4)
    method = TwoLevel(group, SelfAttention(64))
    assert sum(p.numel() for p in method.parameters()) == parameters
    assert round(1_530_872 / 1e6, 2) == 1.53
    deployed = method.predictors()["leader"]
    assert sum(p.numel() for p in deployed.parameters()) == {100: 472_756, 10: 466_906}[classes]


@pytest.mark.parametrize(("make", "printed"), [
    (lambda: branch(build("resnet32", 100), 2, 4), 136.8),
    (lambda: branch(build("resnet32", 100), 2, 3), 114.2),
])  # fmt: skip
def test_multiply_accumulates(make: Callable[[], Group], printed: float) -> None:
    class Stacked(nn.Module):
        def __init__(self, group: Group) -> None:
            super().__init__()
            self.group = group

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([output.logits for output in self.group(x)])

    assert cost(Stacked(make()), (3, 32, 32)).macs / 1e6 == pytest.approx(printed, abs=0.05)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="with a leader, needs two networks or more, got 1"):
        TwoLevel(branch(toy(), 2, 1, (3, SIZE, SIZE)), SelfAttention(8))
    with pytest.raises(ValueError, match="leader_target must be one of 'peers', 'all', got 'none'"):
        two_level(leader_target="none")
    with pytest.raises(ValueError, match=r"beta must be at least 0, got -2\.0"):
        two_level(beta=-2.0)
    with pytest.raises(ValueError, match="networks 1 and 2 of 2 begin with the same weights"):
        Separate([seeded(toy), seeded(toy)])  # type: ignore[arg-type]
    twin = toy()
    with pytest.raises(ValueError, match="a group is of different networks, got 1 of 2"):
        Separate([twin, twin])


def test_one_gate_weighs_the_peers_too() -> None:
    group = branch(toy(), 2, 4, (3, SIZE, SIZE))
    found = TwoLevel(group, BranchGate(8, 3, stage=1))(batch())
    assert all(torch.isfinite(v) for v in found.values())
