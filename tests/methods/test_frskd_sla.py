"""FRSKD + SLA: its terms put together from single passes, who learns from what, its read-outs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import CLASSES, SIZE, batch, seeded, toy_frskd, toy_frskd_sla

from cohobate.core import Output
from cohobate.methods.at import AT, at_loss
from cohobate.methods.frskd_sla import FRSKDSLA

K = 4.0


def softened(logits: Tensor, target: Tensor) -> Tensor:
    q, p = F.log_softmax(logits / K, dim=1), F.softmax(target / K, dim=1)
    return K**2 * (p * (p.log() - q)).sum(1).mean()


def turned(method: FRSKDSLA, x: Tensor) -> list[tuple[Output, Output]]:
    """Both networks' outputs for each turn, in a pass of its own."""
    return [method.frskd.outputs(torch.rot90(x, j, (2, 3))) for j in range(4)]


def aggregated(outputs: list[Output], joint: nn.Module) -> Tensor:
    """A class at a time: the mean over turns of the logit of (class, turn)."""
    columns = [
        sum(joint(output.pooled)[:, 4 * k + j] for j, output in enumerate(outputs)) / 4
        for k in range(CLASSES)
    ]
    return torch.stack(columns, dim=1)  # type: ignore[arg-type]


def test_terms_from_single_passes() -> None:
    method = seeded(lambda: toy_frskd_sla().double())
    assert isinstance(method, FRSKDSLA)
    method.eval()  # so that a pass of one turn says what the pass of all says
    method.sla_weight = 0.7
    data = batch(5, torch.float64)
    found = method(data)
    passes = turned(method, data.x)
    students, teachers = [s for s, _ in passes], [t for _, t in passes]
    single, refined = students[0].logits, teachers[0].logits
    ours, theirs = aggregated(students, method.joint), aggregated(teachers, method.teacher_joint)
    joint = sum(
        F.cross_entropy(head(output.pooled), 4 * data.y + j) / 4
        for outputs, head in ((students, method.joint), (teachers, method.teacher_joint))
        for j, output in enumerate(outputs)
    )
    features = sum(at_loss(a, b) / 4 for s, t in passes for a, b in zip(s.stages, t.stages, strict=True))
    expected = {
        "ce": F.cross_entropy(single, data.y),
        "ce_self_teacher": F.cross_entropy(refined, data.y),
        "ce_joint": joint,
        "kl": 0.7 * (softened(single, ours) + softened(refined, theirs)),
        "kd": 2.0 * (softened(single, refined) + softened(ours, theirs)) / 2,
        "feature": 100.0 * features,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-9)


def test_who_learns_from_what() -> None:
    method = seeded(toy_frskd_sla)
    assert isinstance(method, FRSKDSLA)
    terms = method(batch())
    parts = {
        "network": method.frskd.network,
        "self_teacher": method.frskd.self_teacher,
        "joint": method.joint,
        "teacher_joint": method.teacher_joint,
    }
    moves = {
        name: {
            part
            for part, module in parts.items()
            if any(
                g is not None
                for g in torch.autograd.grad(
                    term, list(module.parameters()), retain_graph=True, allow_unused=True
                )
            )
        }
        for name, term in terms.items()
    }
    assert moves == {
        "ce": {"network"},
        "ce_self_teacher": {"network", "self_teacher"},
        "ce_joint": {"network", "self_teacher", "joint", "teacher_joint"},
        "kl": {"network", "self_teacher"},
        "kd": {"network", "joint"},
        "feature": {"network"},
    }


def test_without_features_and_with_its_own_temperature() -> None:
    inner = toy_frskd(None, temperature=2.0)
    method = FRSKDSLA(inner, nn.Linear(8, 4 * CLASSES), nn.Linear(10, 4 * CLASSES))
    assert method(batch()).keys() == {"ce", "ce_self_teacher", "ce_joint", "kl", "kd"}


def test_errors() -> None:
    inner = toy_frskd(lambda: AT(weight=100.0))
    heads = nn.Linear(8, 4 * CLASSES), nn.Linear(10, 4 * CLASSES)
    with pytest.raises(ValueError, match="sla_weight must be at least 0, got -1"):
        FRSKDSLA(inner, *heads, sla_weight=-1.0)
    data = batch()
    with pytest.raises(ValueError, match="needs square ones, got 8 x 6"):
        FRSKDSLA(inner, *heads)(data._replace(views=(data.x[..., : SIZE - 2],)))
    with pytest.raises(ValueError, match="has 20 outputs, got 5"):
        FRSKDSLA(inner, nn.Linear(8, CLASSES), heads[1])(data)
