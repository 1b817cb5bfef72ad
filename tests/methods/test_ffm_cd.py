"""FFM + CD: eq. 4, every reading of eq. 5, and eq. 8; what the CD loss reaches."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import SIZE, batch, seeded, toy

from cohobate.core import Output
from cohobate.methods.ffm_cd import (
    Diversified,
    FeatureFusion,
    classifier_diversity,
    matched_gamma,
    stacked,
)
from cohobate.methods.okddip import TwoLevel
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build
from cohobate.models.surgery.branch import Branched, branch

PRODUCTS, NORMS = ("classes", "features", "outer"), ("sum", "mean", "frobenius")
READINGS = list(product(PRODUCTS, NORMS))


def group(tails: int = 4) -> Branched:
    return branch(toy(), 1, tails, (3, SIZE, SIZE))


def heads(branches: Branched) -> list[nn.Module]:
    return [tail.get_submodule("fc") for tail in branches.tails]


def ffm_cd(gamma: float = 0.5) -> Diversified:
    branches = group()
    method = TwoLevel(branches, FeatureFusion(8, 3, widths=(6, 4)), beta=2.0, ramp=0.0)
    return Diversified(method, heads(branches), gamma=gamma)


def entries(one: Tensor, two: Tensor, reading: str) -> list[float]:
    """The entries of |W_i^T W_j|, one at a time; W is (K, D)."""
    classes, features = one.shape
    if reading == "classes":
        return [
            sum(one[k, d].item() * two[c, d].item() for d in range(features))
            for k in range(classes)
            for c in range(two.shape[0])
        ]
    if reading == "features":
        return [
            sum(one[k, d].item() * two[k, e].item() for k in range(classes))
            for d in range(features)
            for e in range(features)
        ]
    return [a * b for a in one.flatten().tolist() for b in two.flatten().tolist()]


@pytest.mark.parametrize(("reading", "norm"), READINGS)
def test_eq_5_in_every_reading(reading: str, norm: str) -> None:
    torch.manual_seed(0)
    weights = torch.randn(3, 4, 2, dtype=torch.float64)
    expected = 0.0
    for i, j in combinations(range(3), 2):
        found = entries(weights[i], weights[j], reading)
        if norm == "frobenius":
            expected += sum(e * e for e in found) ** 0.5
        else:
            expected += sum(map(abs, found)) / (len(found) if norm == "mean" else 1)
    value = classifier_diversity(weights, reading, norm)  # type: ignore[arg-type]
    assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("reading", "norm"), READINGS)
def test_gradcheck_of_eq_5(reading: str, norm: str) -> None:
    torch.manual_seed(1)
    weights = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: classifier_diversity(w, reading, norm), (weights,))  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", NORMS)
def test_classifiers_on_disjoint_features(norm: str) -> None:
    """Nothing in common: zero in the reading of classes, but not in that without a cross term."""
    weights = torch.zeros(2, 5, 6)
    weights[0, :, :3] = torch.randn(5, 3)
    weights[1, :, 3:] = torch.randn(5, 3)
    weights.requires_grad_()
    value = classifier_diversity(weights, "classes", norm)  # type: ignore[arg-type]
    assert value == 0
    value.backward()
    assert torch.isfinite(weights.grad).all()  # type: ignore[arg-type]
    assert classifier_diversity(weights, "outer", norm) > 0  # type: ignore[arg-type]


def test_classifiers_of_disjoint_classes() -> None:
    weights = torch.zeros(2, 4, 6)
    weights[0, :2] = torch.randn(2, 6)
    weights[1, 2:] = torch.randn(2, 6)
    assert classifier_diversity(weights, "features", "sum") == 0


@pytest.mark.parametrize(("reading", "norm"), READINGS)
def test_extreme_and_half_precision_weights(reading: str, norm: str) -> None:
    weights = (1e4 * torch.randn(3, 4, 8)).requires_grad_()
    value = classifier_diversity(weights, reading, norm)  # type: ignore[arg-type]
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(weights.grad).all()  # type: ignore[arg-type]
    half = torch.randn(3, 4, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = classifier_diversity(half, reading, norm)  # type: ignore[arg-type]
    assert torch.equal(found, classifier_diversity(half.float(), reading, norm))  # type: ignore[arg-type]


def test_the_sizes_that_choose_the_reading() -> None:
    """ResNet-32, 100 classes: 0.048 at the printed 5e-8 and 95 at 1e-4 in one reading, 2e-4 in others."""
    torch.manual_seed(0)
    weights = torch.stack([nn.Linear(64, 100).weight.detach() for _ in range(4)])
    outer = classifier_diversity(weights, "outer").item()
    assert 5e-8 * outer == pytest.approx(0.048, abs=0.001)
    assert 1e-4 * outer == pytest.approx(95, rel=0.03)
    for reading in ("classes", "features"):
        assert 5e-8 * classifier_diversity(weights, reading).item() < 2e-4  # type: ignore[arg-type]


@pytest.mark.parametrize(("reading", "norm"), READINGS)
def test_a_matched_gamma_begins_at_the_printed_size(reading: str, norm: str) -> None:
    found = heads(branch(build("resnet32", 100), 1, 4))
    gamma = matched_gamma(found, reading, norm)  # type: ignore[arg-type]
    size = gamma * classifier_diversity(stacked(found), reading, norm).item()  # type: ignore[arg-type]
    assert size == pytest.approx(0.048, abs=0.002)
    assert (gamma == pytest.approx(5e-8)) == ((reading, norm) == ("outer", "sum"))


# ---------------------------------------------------------------- the fusion module


def peers(count: int = 3, channels: int = 8, size: int = 2) -> list[Output]:
    return [Output(torch.randn(5, 7), None, (torch.randn(5, channels, size, size),)) for _ in range(count)]


def test_the_weights_of_eq_4() -> None:
    fusion = FeatureFusion(8, 3)
    weights = fusion(peers())
    assert weights.shape == (5, 1, 3)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(5, 1))
    assert [m.out_channels for m in fusion.modules() if isinstance(m, nn.Conv2d)] == [8, 8]
    assert [m.in_channels for m in fusion.modules() if isinstance(m, nn.Conv2d)] == [24, 8]
    deep = FeatureFusion(8, 2, widths=(5, 4, 3))
    assert [m.out_channels for m in deep.modules() if isinstance(m, nn.Conv2d)] == [5, 4, 3]
    assert FeatureFusion(2048, 3).fc.in_features == 128


def test_the_fusion_reads_every_branch() -> None:
    fusion, outputs = FeatureFusion(8, 3), peers()
    maps = [output.stages[-1].requires_grad_() for output in outputs]
    # A weight's share is of all: the sum over the branches would have no gradient.
    gradients = torch.autograd.grad(fusion(outputs)[:, 0, 0].sum(), maps)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_the_fusion_refuses() -> None:
    with pytest.raises(ValueError, match=r"widths must be .*at least 1 in number, got \(\)"):
        FeatureFusion(8, 3, widths=())
    with pytest.raises(ValueError, match=r"widths must be .*at least 1.*, got \(6, 0\)"):
        FeatureFusion(8, 3, widths=(6, 0))
    with pytest.raises(ValueError, match="takes maps of 8 channels and one size"):
        FeatureFusion(8, 3)(peers(channels=4))
    with pytest.raises(ValueError, match="takes maps of 8 channels and one size"):
        FeatureFusion(8, 2)([*peers(1), *peers(1, size=4)])


# ---------------------------------------------------------------- the whole


def test_eq_8() -> None:
    method = seeded(ffm_cd).eval()
    found = method(batch())
    assert list(found) == ["ce_leader", "ce_peers", "kl_peers", "kl_leader", "cd"]
    inner = method.method(batch())  # type: ignore[attr-defined]
    for name, value in inner.items():
        assert torch.equal(found[name], value)
    weights = stacked(heads(method.method.group))  # type: ignore[attr-defined]
    assert found["cd"].item() == pytest.approx(0.5 * classifier_diversity(weights).item(), rel=1e-6)


def test_the_cd_loss_moves_the_classifiers_and_nothing_else() -> None:
    method = ffm_cd()
    names, parameters = zip(*method.named_parameters(), strict=True)
    gradients = torch.autograd.grad(method(batch())["cd"], parameters, allow_unused=True)
    moved = {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
    assert moved == {f"method.group.tails.{i}.fc.weight" for i in range(4)}


def test_pairs_without_the_leader() -> None:
    branches = group()
    method = TwoLevel(branches, FeatureFusion(8, 3))
    found = Diversified(method, heads(branches), gamma=1.0, pairs="peers")(batch())["cd"]
    (leader,) = torch.autograd.grad(found, [branches.tails[0].get_submodule("fc").weight], allow_unused=True)
    assert leader is None
    assert found.item() == pytest.approx(classifier_diversity(stacked(heads(branches)[1:])).item(), rel=1e-6)


@pytest.mark.parametrize("product", ["classes", "features", "outer"])
def test_without_a_gamma_the_loss_begins_as_large_as_printed(product: Any) -> None:
    """5e-8 times the product of all weights, whatever the reading."""
    branches = group()
    method = Diversified(TwoLevel(branches, FeatureFusion(8, 3)), heads(branches), product=product)
    printed = 5e-8 * classifier_diversity(stacked(heads(branches)), "outer")
    torch.testing.assert_close(method(batch())["cd"], printed)
    torch.testing.assert_close(method.gamma * method.diversity(), printed)


def descended(reading: str) -> tuple[float, float]:
    """Two nearly equal classifiers after 300 steps on the loss alone: cosine, share of the norm left."""
    torch.manual_seed(0)
    one = torch.randn(5, 16)
    weights = torch.stack([one, one + 0.01 * torch.randn(5, 16)]).requires_grad_()
    optimizer = torch.optim.SGD([weights], lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        classifier_diversity(weights, reading).backward()  # type: ignore[arg-type]
        optimizer.step()
    cosine = torch.cosine_similarity(weights[0].flatten(), weights[1].flatten(), dim=0)
    return cosine.item(), (weights[0].norm() / one.norm()).item()


def test_what_descending_the_cd_loss_does() -> None:
    """With a cross term the classifiers part while they still have weights; without one they fade first."""
    cosine, left = descended("classes")
    assert cosine < 0.5
    assert left > 0.05
    assert descended("outer")[1] < 0.005


def test_the_state_holds_each_classifier_once() -> None:
    method = ffm_cd()
    keys = method.state_dict().keys()
    assert sum(key.endswith("fc.weight") and "tails" in key for key in keys) == 4
    assert sum(p.numel() for p in method.parameters()) == sum(p.numel() for p in method.method.parameters())


def test_a_wrapped_method_is_that_method() -> None:
    method = ffm_cd()
    inner = method.method
    assert (method.turns, method.rests, method.second_view) == (inner.turns, inner.rests, inner.second_view)
    assert method.peer_readouts == inner.peer_readouts == ("peer_1", "peer_2", "peer_3")
    assert method.groups().keys() == inner.groups().keys()
    assert method.reads_logits_of is None


def test_refusals() -> None:
    branches = group()
    method, found = TwoLevel(branches, FeatureFusion(8, 3)), heads(branches)
    with pytest.raises(ValueError, match="between two classifiers or more, got 1"):
        Diversified(method, found[:1], gamma=1.0)
    with pytest.raises(ValueError, match="classifier 2 of 2 is no module of the method"):
        Diversified(method, [found[0], nn.Linear(8, 5)], gamma=1.0)
    with pytest.raises(ValueError, match=r"classifiers of one shape.*\(5, 8\), \(6, 8\)"):
        Diversified(method, [found[0], nn.Linear(8, 6)], gamma=1.0)
    with pytest.raises(ValueError, match="ReLU is no classifier"):
        Diversified(method, [found[0], nn.ReLU()], gamma=1.0)
    with pytest.raises(
        ValueError, match="product must be one of 'classes', 'features', 'outer', got 'trace'"
    ):
        Diversified(method, found, gamma=1.0, product="trace")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="norm must be one of 'sum', 'mean', 'frobenius', got 'l0'"):
        classifier_diversity(torch.zeros(2, 3, 4), norm="l0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"gamma must be .*at least 0.*, got -1\.0"):
        Diversified(method, found, gamma=-1.0)
    with pytest.raises(ValueError, match="is no module of the method"):
        Diversified(Supervised(toy()), found, gamma=1.0)
