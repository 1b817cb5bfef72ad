"""Faults that were planted by hand and passed every other test: each has its own test here."""

from __future__ import annotations

import inspect
import math
from copy import deepcopy
from itertools import combinations

import pytest
import torch
from naive import kl
from torch import Tensor, nn
from zoo import SIZE, batch, seeded, toy

from cohobate.config.groups.optimisation import Optimisation
from cohobate.core import Output
from cohobate.methods.ffm_cd import Diversified, FeatureFusion
from cohobate.methods.okddip import SelfAttention, TwoLevel
from cohobate.methods.one import ONE
from cohobate.methods.self_guidance import SelfGuidance
from cohobate.models.surgery.branch import branch

T = 3.0


def two_level(**how: object) -> TwoLevel:
    group = branch(toy(), 2, 4, (3, SIZE, SIZE))
    return seeded(lambda: TwoLevel(group, SelfAttention(8, reduced=4), **how)).double()  # type: ignore[arg-type, return-value]


def trunk_gradient(method: TwoLevel, loss: Tensor) -> Tensor:
    parameters = list(method.group.trunk.parameters())  # type: ignore[union-attr]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)])


def test_attention_reads_detached_features() -> None:
    """The peers' KL terms move the trunk as if the weights of the targets were constants."""
    method, data = two_level(ramp=0.0), batch(dtype=torch.float64)
    method.eval()
    found = trunk_gradient(method, method(data)["kl_peers"])
    _, *peers = method.group(data.x)
    logits = torch.stack([peer.logits for peer in peers])
    with torch.no_grad():
        weights = method.attention(peers)
        targets = torch.stack(
            [sum(weights[:, a, b, None] * logits[b] for b in range(3)) for a in range(3)]  # type: ignore[misc]
        )
    p, log_q = torch.softmax(targets / T, dim=2), torch.log_softmax(logits / T, dim=2)
    loss = T**2 * (p * (p.log() - log_q)).sum() / len(data.y)
    torch.testing.assert_close(found, trunk_gradient(method, loss), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2])
def test_the_leaders_kl_rises_as_the_peers_do(progress: float) -> None:
    """exp(-5 (1 - t)^2), t the share of the first 80 of 300 epochs (the authors' code)."""
    method, data = two_level(beta=2.0), batch(dtype=torch.float64)
    method.eval()
    data = data._replace(progress=torch.tensor(progress, dtype=torch.float64))
    leader, *peers = (output.logits.tolist() for output in method.group(data.x))
    mean = [[sum(p[b][k] for p in peers) / 3 for k in range(len(leader[b]))] for b in range(len(leader))]
    whole = sum(T**2 * kl(mean[b], leader[b], T) for b in range(len(leader))) / len(leader)
    rise = math.exp(-5 * (1 - progress / (80 / 300)) ** 2)
    found = method(data)
    assert found["kl_leader"].item() == pytest.approx(2.0 * rise * whole, rel=1e-9)
    full = method(data._replace(progress=torch.ones((), dtype=torch.float64)))
    assert found["kl_peers"].item() == pytest.approx(rise * full["kl_peers"].item(), rel=1e-9)


@pytest.mark.parametrize("method", [ONE, TwoLevel])
def test_the_ramp_is_80_of_300_epochs(method: type) -> None:
    assert inspect.signature(method).parameters["ramp"].default == pytest.approx(80 / 300, rel=1e-15)


def test_the_fusion_module_normalises_after_each_convolution() -> None:
    """A factor before a batch norm with statistics of the batch changes nothing; before a ReLU it does."""
    torch.manual_seed(0)
    module = FeatureFusion(8, 3, widths=(6, 4)).double()
    peers = [Output(torch.zeros(4, 5), None, (torch.randn(4, 8, 3, 3).double(),)) for _ in range(3)]
    before = module(peers)
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 2
    with torch.no_grad():
        for factor, layer in zip((50.0, 200.0), convolutions, strict=True):
            layer.weight.mul_(factor)
    torch.testing.assert_close(module(peers), before, rtol=1e-3, atol=1e-4)
    assert before.std() > 0


def test_pairs_of_peers_are_without_the_leader() -> None:
    group = branch(toy(), 1, 4, (3, SIZE, SIZE))
    heads = [tail.get_submodule("fc") for tail in group.tails]
    torch.manual_seed(0)
    for head in heads:
        nn.init.normal_(head.weight)  # type: ignore[arg-type]
    inner = TwoLevel(group, SelfAttention(8), ramp=0.0)
    for pairs, kept in (("all", heads), ("peers", heads[1:])):
        method = Diversified(inner, heads, gamma=0.5, pairs=pairs)  # type: ignore[arg-type]
        weights = [head.weight.detach().double() for head in kept]
        naive = sum((one @ two.T).abs().sum().item() for one, two in combinations(weights, 2))
        cd = method(batch())["cd"]
        assert cd.item() == pytest.approx(0.5 * naive, rel=1e-5)
        (leader,) = torch.autograd.grad(cd, [heads[0].weight], allow_unused=True)  # type: ignore[list-item]
        assert (leader is None) == (pairs == "peers")


def test_without_backward_full_the_full_pass_has_no_gradient_even_undetached() -> None:
    """Table 6's ablation: the teacher's pass is not trained, whatever ``detach`` says."""
    gradients = []
    for detach in (True, False):
        method = seeded(lambda d=detach: SelfGuidance(toy(), backward_full=False, detach=d)).double()  # type: ignore[misc]
        torch.manual_seed(1)
        loss = method(batch(dtype=torch.float64))["kl"]
        gradients.append(torch.autograd.grad(loss, list(method.parameters())))
    for one, two in zip(*gradients, strict=True):
        assert torch.equal(one, two)
    assert any(g.abs().sum() > 0 for g in gradients[0])


def test_defaults_of_every_run() -> None:
    """Those of the public CIFAR benchmarks: a changed one changes every number, so it is changed here too."""
    expected = {
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "batch_size": 128,
        "accumulate": 1,
        "epochs": 30,
        "seed": 0,
        "clip": None,
        "ema": 0.0,
        "schedule": "step",
        "milestones": (0.5, 0.75),
        "step_factor": 0.1,
        "power": 2.0,
        "final": 0.0,
        "warmup": 0.0,
        "label_smoothing": 0.0,
        "mixing": "none",
    }
    defaults = deepcopy(Optimisation().model_dump())
    assert {name: defaults[name] for name in expected} == expected
