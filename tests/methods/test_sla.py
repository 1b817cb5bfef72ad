"""SLA-SD: turns, the algebra of joint labels, the aggregated prediction, losses against a loop, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from naive import kl, softmax
from torch import Tensor, nn
from zoo import CLASSES, SIZE, batch, seeded, toy

from cohobate.core import IGNORED, Batch, Output
from cohobate.data.augment.labels import smooth
from cohobate.methods.sla import SLASD, Aggregated, aggregate, joint_labels, rotations

D = 8


def slasd(**how: float) -> SLASD:
    return SLASD(toy(), nn.Linear(D, 4 * CLASSES), **how).double()


def made(**how: float) -> tuple[SLASD, Batch]:
    return seeded(lambda: slasd(**how)), batch(dtype=torch.float64)  # type: ignore[return-value]


def test_quarter_turns_by_hand() -> None:
    x = torch.tensor([[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]])
    turned = rotations(x)
    assert turned.shape == (8, 1, 2, 2)
    assert torch.equal(turned[:2], x)
    assert turned[2, 0].tolist() == [[2, 4], [1, 3]]
    assert turned[4, 0].tolist() == [[4, 3], [2, 1]]
    assert turned[6, 0].tolist() == [[3, 1], [4, 2]]
    assert turned[7, 0].tolist() == [[7, 5], [8, 6]]


def test_four_turns_are_none() -> None:
    x = torch.randn(3, 2, 5, 5)
    once = rotations(x)[3:6]
    for _ in range(3):
        once = rotations(once)[3:6]
    assert torch.equal(once, x)


def test_joint_ids_name_class_and_turn() -> None:
    y = torch.tensor([0, 3, IGNORED, 2])
    joint = joint_labels(y).view(4, 4)
    for turn in range(4):
        for image, label in enumerate(y.tolist()):
            expected = IGNORED if label == IGNORED else 4 * label + turn
            assert joint[turn, image] == expected
    assert sorted(joint_labels(torch.arange(5)).tolist()) == list(range(20))


def test_joint_probabilities_agree_with_ids() -> None:
    y = torch.tensor([0, 4, 2])
    hard = nn.functional.one_hot(joint_labels(y), 4 * CLASSES).double()
    assert torch.equal(joint_labels(nn.functional.one_hot(y, CLASSES).double()), hard)
    soft = torch.randn(3, CLASSES).softmax(1)
    joint = joint_labels(soft)
    torch.testing.assert_close(joint.sum(1), torch.ones(12))
    for turn in range(4):
        torch.testing.assert_close(joint.view(4, 3, CLASSES, 4)[turn, :, :, turn], soft)


def test_aggregated_against_a_loop() -> None:
    z = torch.randn(8, 4 * CLASSES, dtype=torch.float64)
    found = aggregate(z)
    for b in range(2):
        for i in range(CLASSES):
            mean = sum(z[2 * j + b, 4 * i + j].item() for j in range(4)) / 4
            assert found[b, i].item() == pytest.approx(mean, rel=1e-12)


def test_what_the_joint_labels_say_is_what_aggregates() -> None:
    y = torch.tensor([2, 0, 4])
    certain = nn.functional.one_hot(joint_labels(y), 4 * CLASSES).double()
    assert torch.equal(aggregate(certain), nn.functional.one_hot(y, CLASSES).double())


@pytest.mark.parametrize(
    "how", [{}, {"temperature": 4.0, "weight": 0.3, "beta": 0.7, "joint_weight": 4.0}], ids=["paper", "other"]
)
@pytest.mark.parametrize("labels", ["ids", "ignored", "soft"])
def test_losses_against_a_loop(how: dict[str, float], labels: str) -> None:
    method, data = made(**how)
    method.eval()  # so that one image at a time says the same
    if labels == "ignored":
        data = data._replace(y=data.y.where(torch.arange(16) % 3 > 0, IGNORED))
    if labels == "soft":
        data = smooth(data, 0.1, CLASSES)
    found = method(data)
    t = how.get("temperature", 1.0)
    ce = joint_ce = distilled = 0.0
    kept = 0
    for b in range(16):
        p = data.y[b].tolist() if labels == "soft" else None
        if p is None and data.y[b] != IGNORED:
            p = [float(k == data.y[b]) for k in range(CLASSES)]
        kept += p is not None
        mean = [0.0] * CLASSES
        single: list[float] = []
        for j in range(4):
            output = method.network(torch.rot90(data.x[b : b + 1], j, (2, 3)))
            joint = method.joint(output.pooled)[0].tolist()
            single = single or output.logits[0].tolist()
            mean = [m + joint[4 * i + j] / 4 for i, m in enumerate(mean)]
            if p is not None:
                joint_ce -= sum(p[i] * math.log(softmax(joint)[4 * i + j]) for i in range(CLASSES))
        if p is not None:
            ce -= sum(p[i] * math.log(softmax(single)[i]) for i in range(CLASSES))
        distilled += t**2 * kl(mean, single, t)
    assert found["ce"].item() == pytest.approx(how.get("beta", 1) * ce / kept, rel=1e-9)
    joint_weight = how.get("joint_weight", 1)
    assert found["ce_joint"].item() == pytest.approx(joint_weight * joint_ce / (4 * kept), rel=1e-9)
    assert found["kl"].item() == pytest.approx(how.get("weight", 1) * distilled / 16, rel=1e-9)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    z = torch.randn(8, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(aggregate, (z,))


def moved(value: Tensor, module: nn.Module) -> bool:
    grads = torch.autograd.grad(value, list(module.parameters()), allow_unused=True, retain_graph=True)
    return any(g is not None and bool(g.abs().max() > 0) for g in grads)


def test_who_learns_from_what() -> None:
    method, data = made()
    found = method(data)
    trunk, own = method.network.stages, method.network.fc
    assert isinstance(trunk, nn.Module)
    assert isinstance(own, nn.Module)
    learns = {name: [moved(v, part) for part in (trunk, own, method.joint)] for name, v in found.items()}
    assert learns == {
        "ce": [True, True, False],
        "ce_joint": [True, False, True],
        "kl": [True, True, False],
    }


def test_an_own_classifier_that_agrees_has_nothing_to_learn() -> None:
    """Joint weights of (i, j) that are the own ones of i, and images that no turn changes."""
    method, _ = made()
    with torch.no_grad():
        own = method.network.fc
        assert isinstance(own, nn.Linear)
        method.joint.weight.copy_(own.weight.repeat_interleave(4, dim=0))  # type: ignore[operator]
        method.joint.bias.copy_(own.bias.repeat_interleave(4, dim=0))  # type: ignore[operator]
    method.eval()
    flat = batch(dtype=torch.float64)._replace(
        views=(torch.randn(16, 3, 1, 1, dtype=torch.float64).expand(-1, -1, SIZE, SIZE),)
    )
    found = method(flat)
    rows = method.readouts(flat.x)
    torch.testing.assert_close(rows["aggregated"], rows["network"])
    assert found["kl"].abs() < 1e-12


def test_readouts_take_one_pass() -> None:
    method, data = made()
    passes = []
    method.network.register_forward_hook(lambda *_: passes.append(1))
    method.readouts(data.x)
    assert len(passes) == 1


def test_predictors() -> None:
    method, data = made()
    method.eval()
    found = method.predictors()
    assert list(found) == ["network", "aggregated"]
    assert isinstance(found["aggregated"], Aggregated)
    assert found["network"].state_dict().keys() == toy().state_dict().keys()
    assert found["aggregated"](data.x).shape == (16, CLASSES)


def test_refusals() -> None:
    with pytest.raises(
        ValueError, match="SLA turns images by 90 degrees, which needs square ones, got 4 x 6"
    ):
        rotations(torch.zeros(1, 3, 4, 6))
    with pytest.raises(ValueError, match=r"SLA takes one label for an image, .* got \(2, 4, 4\)"):
        joint_labels(torch.zeros(2, 4, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"SLA aggregates \(4 B, 4 K\) .* got \(6, 8\)"):
        aggregate(torch.zeros(6, 8))
    for how, said in (
        ({"temperature": 0.0}, "temperature must be above 0, got 0"),
        ({"weight": -1.0}, "weight must be at least 0, got -1"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"joint_weight": -1.0}, "joint_weight must be at least 0"),
    ):
        with pytest.raises(ValueError, match=said):
            slasd(**how)
    with pytest.raises(ValueError, match="joint classifier of 5 classes in 4 turns has 20 outputs, got 5"):
        SLASD(toy(), nn.Linear(D, CLASSES))(batch())


class Logits(nn.Module):
    def forward(self, x: Tensor) -> Output:
        return Output(x.mean(dim=(2, 3)))


def test_a_network_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="features before the classifier, which this network does not show"):
        SLASD(Logits(), nn.Linear(D, 4))(batch())
