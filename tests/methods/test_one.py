"""ONE: the gated ensemble against a loop, the gate, who learns from whom, its size."""

from __future__ import annotations

import math

import pytest
import torch
from naive import kl, softmax
from torch import Tensor
from zoo import CLASSES, SIZE, batch, seeded, toy

from cohobate.core import Batch, Output, Separate
from cohobate.methods.one import ONE, BranchGate, importance, ramp_up, summed_kl, weighted
from cohobate.models.build import build
from cohobate.models.surgery.branch import branch

M, T = 3, 3.0


def one(**how: object) -> ONE:
    group = branch(toy(), 2, M, (3, SIZE, SIZE))
    return ONE(group, BranchGate(8, M, stage=1), **how).double()  # type: ignore[arg-type]


def outputs(**how: object) -> tuple[ONE, Batch, dict[str, Tensor]]:
    method = seeded(lambda: one(**how))
    data = batch(dtype=torch.float64)
    return method, data, method(data)  # type: ignore[return-value]


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_losses_against_a_loop(weight: float) -> None:
    method, data, found = outputs(weight=weight, ramp=0.0)
    method.eval()  # so that batch norm says the same twice
    found = method(data)
    branches = method.group(data.x)
    gates = method.gate(branches)[:, 0].tolist()
    rows = [branch.logits.tolist() for branch in branches]
    ce = [0.0] * M
    ce_ensemble = distilled = 0.0
    for b, label in enumerate(data.y.tolist()):
        teacher = [sum(gates[b][i] * rows[i][b][k] for i in range(M)) for k in range(CLASSES)]
        ce_ensemble -= math.log(softmax(teacher)[label])
        for i in range(M):
            ce[i] -= math.log(softmax(rows[i][b])[label])
            distilled += T**2 * kl(teacher, rows[i][b], T)
    images = len(data.y)
    assert found["ce_peers"].item() == pytest.approx(sum(ce) / images, rel=1e-10)
    assert found["ce_ensemble"].item() == pytest.approx(ce_ensemble / images, rel=1e-10)
    assert found["kl_peers"].item() == pytest.approx(weight * distilled / images, rel=1e-10)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    z = torch.randn(M, 2, 4, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(2, M, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 2, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s, v: weighted(importance(s), v), (scores, z))
    assert torch.autograd.gradcheck(lambda v: summed_kl(v, target, temperature=T), (z,))


def test_the_gate_weighs_to_one_and_differs_by_image() -> None:
    method, data, _ = outputs()
    weights = method.gate(method.group(data.x))
    assert weights.shape == (16, 1, M)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(16, 1, dtype=torch.float64))
    assert not torch.allclose(weights[0], weights[1])
    assert importance(torch.tensor([[1e4, -1e4]])).tolist() == [[[1.0, 0.0]]]


def test_equal_branches_have_no_distillation() -> None:
    logits = torch.randn(1, 4, CLASSES).expand(M, -1, -1)
    target = weighted(importance(torch.randn(4, M)), logits)
    assert summed_kl(logits, target, temperature=T).abs() < 1e-6


def test_the_ensemble_is_a_constant_unless_told() -> None:
    for detach in (True, False):
        method, _, found = outputs(detach=detach)
        (of_gate,) = torch.autograd.grad(
            found["kl_peers"], [method.gate.fc.weight], allow_unused=True, retain_graph=True
        )
        assert (of_gate is None) == detach
        (of_gate,) = torch.autograd.grad(found["ce_ensemble"], [method.gate.fc.weight])
        assert of_gate.abs().max() > 0


def test_the_ramp() -> None:
    def at(t: float) -> float:
        return float(ramp_up(batch()._replace(progress=torch.tensor(t)), 0.25, "ONE"))

    assert at(0.0) == pytest.approx(math.exp(-5))
    assert at(0.125) == pytest.approx(math.exp(-5 * 0.25))
    assert at(0.25) == at(0.9) == 1.0
    assert ramp_up(batch()._replace(progress=None), 0.0, "ONE") == 1.0
    with pytest.raises(
        ValueError, match=r"ONE rises over the first 0\.25 of a run and needs Batch\.progress"
    ):
        ramp_up(batch()._replace(progress=None), 0.25, "ONE")


def test_every_part_learns_and_the_trunk_from_all() -> None:
    method, _, found = outputs()
    sum(found.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.group.parameters())


def test_dense_predictions_are_weighted_by_image() -> None:
    logits = torch.randn(M, 2, 4, 3, 5)
    weights = importance(torch.randn(2, M))
    fused = weighted(weights, logits)
    assert fused.shape == (1, 2, 4, 3, 5)
    expected = sum(weights[1, 0, i] * logits[i, 1, :, 2, 4] for i in range(M))
    torch.testing.assert_close(fused[0, 1, :, 2, 4], expected)
    assert summed_kl(logits, fused, temperature=T).shape == ()


@pytest.mark.parametrize(("classes", "printed"), [(100, 1_193_189), (10, 1_175_639)])
def test_its_size(classes: int, printed: int) -> None:
    """1,193,189 (public code, 100 classes); Self-Guidance's tables 2 and 4 print 1.18M (10 classes)."""
    method = ONE(branch(build("resnet32", classes), 2, 3), BranchGate(32, 3, stage=1))
    assert sum(p.numel() for p in method.parameters()) == printed
    assert round(1_175_639 / 1e6, 2) == 1.18


def test_refusals() -> None:
    gate = BranchGate(8, 1, stage=1)
    with pytest.raises(ValueError, match="ONE needs two networks or more, got 1"):
        ONE(branch(toy(), 2, 1, (3, SIZE, SIZE)), gate)
    for how, said in (
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"ramp": 1.5}, "ramp must be at most 1, got 1.5"),
        ({"weight": -1.0}, "weight must be at least 0, got -1.0"),
    ):
        with pytest.raises(ValueError, match=said):
            one(**how)


def test_networks_of_other_classes_are_refused() -> None:
    group = Separate([toy(), build("resnet8", CLASSES + 1)])
    method = ONE(group, lambda branches: torch.ones(16, 1, 2) / 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must predict the same classes"):
        method(batch())


@pytest.mark.parametrize(("channels", "stage"), [(4, 3), (5, 0)])
def test_outputs_without_the_shared_stage(channels: int, stage: int) -> None:
    output = Output(torch.zeros(1, 2), None, (torch.zeros(1, 4, 2, 2),))
    message = rf"the gate reads stage {stage} of {channels} channels; stages have channels \[4\]"
    with pytest.raises(ValueError, match=message):
        BranchGate(channels, 2, stage)([output])
