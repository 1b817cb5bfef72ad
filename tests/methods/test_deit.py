"""DeiT's two heads against formulas written from the paper, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from zoo import CLASSES, TwoTokens, batch, toy

from cohobate.core import Batch, Frozen
from cohobate.methods.deit import DeiT, two_heads
from cohobate.models.surgery.adapt import adapt


def made(**how: object) -> DeiT:
    torch.manual_seed(0)
    return DeiT(TwoTokens(), Frozen(toy()), **how).double()  # type: ignore[arg-type]


def parts(method: DeiT, data: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of class head, distillation head and teacher, computed from the layers themselves."""
    student = method.student
    tokens = student.forward_features(data.x)  # type: ignore[operator]
    one, two = student.head(tokens[:, 0]), student.head_dist(tokens[:, 1])  # type: ignore[operator]
    return one, two, method.teacher(data.x).logits


def log_p(logits: Tensor) -> Tensor:
    return logits - logits.exp().sum(dim=1, keepdim=True).log()


def test_hard_is_eq_3() -> None:
    method, data = made(), batch(dtype=torch.float64)
    losses = method(data)
    one, two, taught = parts(method, data)
    rows = torch.arange(16)
    ce = -log_p(one)[rows, data.y].mean()
    distillation = -log_p(two)[rows, taught.max(dim=1).indices].mean()
    torch.testing.assert_close(losses["ce"], 0.5 * ce)
    torch.testing.assert_close(losses["distillation"], 0.5 * distillation)


@pytest.mark.parametrize(
    ("given", "share", "tau"), [({}, 0.1, 3.0), ({"share": 0.7, "temperature": 2.0}, 0.7, 2.0)]
)
def test_soft_is_eq_2(given: dict[str, float], share: float, tau: float) -> None:
    method, data = made(target="soft", **given), batch(dtype=torch.float64)
    losses = method(data)
    one, two, taught = parts(method, data)
    p, q = log_p(taught / tau), log_p(two / tau)
    kl = (p.exp() * (p - q)).sum(dim=1).mean()
    ce = -log_p(one)[torch.arange(16), data.y].mean()
    torch.testing.assert_close(losses["ce"], (1 - share) * ce)
    torch.testing.assert_close(losses["distillation"], share * tau**2 * kl)


@pytest.mark.parametrize("target", ["hard", "soft"])
def test_each_head_learns_from_its_own_source(target: str) -> None:
    method, data = made(target=target), batch(dtype=torch.float64)
    losses = method(data)
    heads = [method.student.head.weight, method.student.head_dist.weight]  # type: ignore[union-attr]
    shared = method.student.attention.weight  # type: ignore[union-attr]
    for term, (moves, rests) in (("ce", heads), ("distillation", heads[::-1])):
        grads = torch.autograd.grad(
            losses[term], [moves, rests, shared], allow_unused=True, retain_graph=True
        )  # type: ignore[list-item]
        assert grads[0] is not None
        assert grads[0].abs().sum() > 0
        assert grads[1] is None
        assert grads[2] is not None


def test_logits_that_were_kept_are_taken() -> None:
    method, data = made(), batch(dtype=torch.float64)
    kept = data._replace(taught=method.teacher(data.x).logits)
    method.teacher = Frozen(toy().double())
    assert method.reads_logits_of is method.teacher
    one = method(kept)["distillation"]
    assert not torch.equal(one, method(data)["distillation"])


def test_the_deployed_network_averages_its_heads_and_is_as_it_was() -> None:
    method, data = made(), batch(dtype=torch.float64)
    method(data)
    assert method.student.distilled_training is False
    one, two, _ = parts(method, data)
    # In training mode too: nothing of the method stays behind in the network.
    deployed = method.predictors()["student"]
    torch.testing.assert_close(deployed(data.x), (one + two) / 2)
    assert deployed.state_dict().keys() == TwoTokens().state_dict().keys()


def test_the_heads_of_an_adapted_network_are_found() -> None:
    torch.manual_seed(0)
    student = adapt(TwoTokens(), shape=(3, 8, 8))
    method = DeiT(student, Frozen(toy()))
    one, two = two_heads(student.network, batch().x)  # type: ignore[arg-type]
    assert one.shape == two.shape == (16, CLASSES)
    assert set(method(batch())) == {"ce", "distillation"}


def test_a_student_without_the_token_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"ResNet does not have; .*timm:deit_tiny_distilled_patch16_224.*hard"
    ):
        DeiT(toy(), Frozen(toy()))
    with pytest.raises(ValueError, match=r"share must be at most 1, got 1\.5"):
        made(share=1.5)
    with pytest.raises(ValueError, match="target must be one of 'hard', 'soft', got 'warm'"):
        made(target="warm")


def test_a_network_in_evaluation_mode_is_refused() -> None:
    network = TwoTokens().eval()
    with pytest.raises(ValueError, match=r"TwoTokens returns one prediction; call train\(\)"):
        two_heads(network, batch().x)
    assert network.distilled_training is False
