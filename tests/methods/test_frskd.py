"""FRSKD: each equation against a loop, who learns from whom, its rise, its feature terms."""

from __future__ import annotations

import math

import pytest
import torch
from naive import kl, softmax
from torch import Tensor, nn
from zoo import CLASSES, batch, seeded, toy, toy_frskd, toy_images

from cohobate.commands.train import fit
from cohobate.core import Batch, Output
from cohobate.data.arrays import arrays
from cohobate.methods.at import AT, attention_map
from cohobate.methods.fitnet import Hints
from cohobate.methods.frskd import FRSKD, AttentionNorm, Refined, attention_distance, printed_kl
from cohobate.methods.ofd import OFD
from cohobate.models.dense.self_teacher import SelfTeacher

K = 4.0


def frskd(**how: object) -> FRSKD:
    return seeded(lambda: toy_frskd(lambda: AT(weight=100.0), **how).double())  # type: ignore[arg-type,return-value]


def looked_at(image: Tensor) -> list[float]:
    """phi of one image's feature map, (C, H, W), a position at a time."""
    _, h, w = image.shape
    sums = [sum(v * v for v in image[:, i, j].tolist()) for i in range(h) for j in range(w)]
    length = math.sqrt(sum(s * s for s in sums))
    return [s / length for s in sums]


def distances(student: Output, teacher: Output) -> list[list[float]]:
    """|phi(T_i) - phi(F_i)|^2 of every stage and image, with the positions."""
    return [
        [
            sum((a - b) ** 2 for a, b in zip(looked_at(s[n]), looked_at(t[n]), strict=True))
            for n in range(len(s))
        ]
        for s, t in zip(student.stages, teacher.stages, strict=True)
    ]


@pytest.mark.parametrize("reading", ["code", "paper"])
def test_equation_5_against_a_loop(reading: str) -> None:
    method = frskd(alpha=1.5, soft_labels=reading).eval()
    if reading == "paper":
        method.feature = AttentionNorm(weight=0.3)
    data = batch(6, torch.float64)
    found = method(data)
    student, teacher = method.outputs(data.x)
    apart = distances(student, teacher)
    pairs = list(zip(student.logits.tolist(), teacher.logits.tolist(), strict=True))
    if reading == "code":
        sizes = [stage.shape[2] * stage.shape[3] for stage in student.stages]
        feature = 100.0 * sum(sum(d) / (6 * size) for d, size in zip(apart, sizes, strict=True))
        divergence = K**2 * sum(kl(t, s, K) for s, t in pairs) / 6
    else:
        feature = 0.3 * sum(math.sqrt(d) for stage in apart for d in stage) / 6
        divergence = sum(kl(s, t, K) for s, t in pairs) / 6
    for name, rows in (("ce", [s for s, _ in pairs]), ("ce_self_teacher", [t for _, t in pairs])):
        ce = -sum(math.log(softmax(row)[y]) for row, y in zip(rows, data.y.tolist(), strict=True)) / 6
        assert found[name].item() == pytest.approx(ce, rel=1e-10)
    assert found["kd"].item() == pytest.approx(1.5 * divergence, rel=1e-9)
    assert found["feature"].item() == pytest.approx(feature, rel=1e-9)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 4, 2, 2, dtype=torch.float64)
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: attention_distance(v, target), (x,))
    other = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: printed_kl(v, other, K), (z,))


def test_equal_networks_have_nothing_to_teach() -> None:
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    distance = attention_distance(x, x.detach())
    assert distance == 0
    assert torch.isfinite(torch.autograd.grad(distance, x)[0]).all()
    assert printed_kl(x.flatten(1), x.flatten(1).detach(), K).abs() < 1e-6
    assert attention_map(torch.zeros(1, 2, 3, 3)).tolist() == [[0.0] * 9]


def reached(loss: Tensor, module: nn.Module) -> list[str]:
    """Parameters of a module that a loss moves."""
    named = dict(module.named_parameters())
    if not named:
        return []
    gradients = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return [name for name, g in zip(named, gradients, strict=True) if g is not None]


@pytest.mark.parametrize("soft_labels", ["code", "paper"])
@pytest.mark.parametrize(
    "feature",
    [
        lambda: AT(weight=100.0),
        lambda: AttentionNorm(),
        lambda: Hints((8, 8, 8), (6, 8, 10)),
        lambda: OFD((8, 8, 8), (6, 8, 10), [torch.full((c,), -0.8) for c in (6, 8, 10)]),
    ],
    ids=["at", "at_norm", "fitnet", "overhaul"],
)
def test_who_learns_from_what(feature: object, soft_labels: str) -> None:
    method = seeded(lambda: toy_frskd(feature, soft_labels=soft_labels))  # type: ignore[arg-type]
    assert isinstance(method, FRSKD)
    terms = method(batch())
    everything = [name for name, _ in method.network.named_parameters()]
    for name in ("kd", "feature"):
        assert reached(terms[name], method.self_teacher) == []
    assert reached(terms["kd"], method.network) == everything
    assert {"conv.weight", "stages.2.0.conv2.weight"} <= set(reached(terms["feature"], method.network))
    assert "fc.weight" not in reached(terms["feature"], method.network)
    assert reached(terms["ce"], method.network) == everything
    assert reached(terms["ce"], method.self_teacher) == []
    # Its own cross-entropy moves all of the self-teacher, and the backbone below it.
    assert reached(terms["ce_self_teacher"], method.self_teacher) == [
        name for name, _ in method.self_teacher.named_parameters()
    ]
    below = reached(terms["ce_self_teacher"], method.network)
    assert below == [name for name in everything if not name.startswith("fc")]
    assert method.feature is not None
    own = [name for name, _ in method.feature.named_parameters()]
    assert reached(terms["feature"], method.feature) == own


def test_without_features() -> None:
    method = toy_frskd(None)
    assert method(batch()).keys() == {"ce", "ce_self_teacher", "kd"}
    assert [n for n, _ in method.named_parameters() if n.startswith("feature")] == []


def at(progress: float) -> Batch:
    return batch(4, torch.float64)._replace(progress=torch.tensor(progress, dtype=torch.float64))


@pytest.mark.parametrize(
    ("start", "ramp", "progress", "share"),
    [
        (0.0, 0.0, 0.0, 1.0),
        (40 / 60, 20 / 60, 0.0, 0.0),
        (40 / 60, 20 / 60, 0.66, 0.0),
        (40 / 60, 20 / 60, 40 / 60, math.exp(-5)),
        (40 / 60, 20 / 60, 50 / 60, math.exp(-5 / 4)),
        (40 / 60, 20 / 60, 1.0, 1.0),
        (0.5, 0.0, 0.49, 0.0),
        (0.5, 0.0, 0.5, 1.0),
        (0.0, 0.5, 0.25, math.exp(-5 / 4)),
    ],
)
def test_the_rise_of_alpha_and_beta(start: float, ramp: float, progress: float, share: float) -> None:
    plain, rising = frskd().eval(), frskd(start=start, ramp=ramp).eval()
    full, found = plain(at(progress)), rising(at(progress))
    for name in ("kd", "feature"):
        assert found[name].item() == pytest.approx(share * full[name].item(), rel=1e-6)
    for name in ("ce", "ce_self_teacher"):
        assert found[name] == full[name]


def test_a_rise_needs_progress() -> None:
    with pytest.raises(ValueError, match=r"FRSKD starts later and needs Batch.progress"):
        frskd(start=0.5)(batch(dtype=torch.float64)._replace(progress=None))


def test_weights_scale_the_terms() -> None:
    one, two = frskd(alpha=1.0).eval(), frskd(alpha=3.0).eval()
    two.feature = AT(weight=50.0)
    data = batch(dtype=torch.float64)
    assert two(data)["kd"].item() == pytest.approx(3 * one(data)["kd"].item())
    assert two(data)["feature"].item() == pytest.approx(0.5 * one(data)["feature"].item())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"alpha": -1.0}, "alpha must be at least 0, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0"),
        ({"soft_labels": "both"}, "soft_labels must be one of 'code', 'paper', got 'both'"),
        ({"start": 0.7, "ramp": 0.5}, "at most 1 together, got 0.7 and 0.5; give ramp 0.3 or less"),
        ({"start": -0.1}, "start must be at least 0, got -0.1"),
    ],
)
def test_wrong_arguments(how: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frskd(**how)


def test_a_network_without_stages() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    with pytest.raises(ValueError, match="FRSKD refines feature maps, but the network gives no stages"):
        FRSKD(plain, SelfTeacher((4, 8), (4, 8), CLASSES), None)(batch())


def test_what_is_deployed_is_the_classifier_alone() -> None:
    method = toy_frskd(lambda: AT(weight=100.0))
    predictors = method.predictors()
    assert list(predictors) == ["network", "self_teacher"]
    assert predictors["network"].state_dict().keys() == toy().state_dict().keys()
    assert isinstance(predictors["self_teacher"], Refined)


def test_it_learns() -> None:
    x, y = toy_images(80, 0)
    method = seeded(lambda: toy_frskd(lambda: AT(weight=100.0)))
    data = arrays(x, y, val=toy_images(40, 1), test=toy_images(40, 2), crop=1)
    result = fit(method, data, epochs=30, batch_size=16, lr=0.05, quiet=True, device="cpu")
    assert result.error < 30
    assert result.facts["last"]["test"]["self_teacher"]["top1_error"] < 60
