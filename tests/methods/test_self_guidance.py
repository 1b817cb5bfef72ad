"""Stochastic Depth and Self-Guidance: equations, gates, batch norm, gradients, deployment."""

from __future__ import annotations

from copy import deepcopy
from inspect import unwrap
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import batch, toy, toy_wide

from cohobate.core import Gate, run
from cohobate.methods.self_guidance import SelfGuidance
from cohobate.methods.stochastic_depth import StochasticDepth, SurvivalGates, draw, linear_decay
from cohobate.models.backbones.resnet import ResNet
from cohobate.models.build import build


def naive_resnet(network: ResNet, x: Tensor, gates: list[float]) -> Tensor:
    """Logits by eq. 3 / eq. 4, a block at a time, without the network's own forward."""
    x = F.relu(network.bn(network.conv(x)))
    remaining = iter(gates)
    for stage in network.stages:
        for block in stage:  # type: ignore[attr-defined]
            branch = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            x = F.relu(next(remaining) * branch + block.shortcut(x))
    return network.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def test_survival_falls_linearly_from_block_one() -> None:
    """p_l = 1 - (l / L)(1 - p_L), l = 1..L."""
    assert linear_decay(4, 0.5) == [0.875, 0.75, 0.625, 0.5]
    assert linear_decay(3, 1.0) == [1.0, 1.0, 1.0]


def test_24_blocks_for_resnet50c() -> None:
    """Figure 5 of the paper: 24 residual blocks; the last survives with probability 0.5."""
    gates = SurvivalGates(build("resnet50c", 10), 0.5)
    assert len(gates.names) == 24
    assert gates.probabilities[-1] == 0.5


def test_draws_have_the_right_frequency() -> None:
    survival = torch.tensor([0.9, 0.5, 0.1])
    mean = torch.stack([draw(survival) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, survival, atol=0.03, rtol=0)


@pytest.mark.parametrize("values", [[1.0, 0.0, 1.0], [0.9, 0.7, 0.5]])
def test_gated_pass_is_eq_3_and_eq_4(values: list[float]) -> None:
    network = toy().double()
    x = batch(dtype=torch.float64).x
    gates = SurvivalGates(network, 0.5)
    given = dict(zip(gates.names, torch.tensor(values, dtype=torch.float64), strict=True))
    torch.testing.assert_close(run(network, x, gates=given).logits, naive_resnet(network, x, values))


def naive_loss(method: SelfGuidance, data: Any, gates: list[float]) -> dict[str, Tensor]:
    """Eq. 5 a sample at a time."""
    network, tau = deepcopy(method.network), method.temperature
    assert isinstance(network, ResNet)
    student = naive_resnet(network, data.x, gates)
    teacher = naive_resnet(network, data.x, method.gates.probabilities.tolist())
    losses = {"ce_student": torch.zeros(()), "ce_teacher": torch.zeros(()), "kl": torch.zeros(())}
    for s, t, y in zip(student, teacher, data.y, strict=True):
        losses["ce_student"] = losses["ce_student"] - s.log_softmax(0)[y] / len(student)
        losses["ce_teacher"] = losses["ce_teacher"] - t.log_softmax(0)[y] / len(student)
        p, q = (t / tau).softmax(0), (s / tau).softmax(0)
        kl = (p * (p.log() - q.log())).sum()
        losses["kl"] = losses["kl"] + method.weight * tau**2 * kl / len(student)
    return losses


@pytest.mark.parametrize("weight", [0.0, 0.25, 3.0])
def test_loss_is_eq_5(weight: float) -> None:
    method = SelfGuidance(toy(), weight=weight).double()
    data = batch(dtype=torch.float64)
    torch.manual_seed(4)
    found = method(data)
    torch.manual_seed(4)
    expected = naive_loss(method, data, draw(method.gates.probabilities).tolist())
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name].double())


def gradients(method: nn.Module, term: str) -> list[Tensor | None]:
    torch.manual_seed(0)
    loss = method(batch())[term]
    return list(torch.autograd.grad(loss, list(method.parameters()), allow_unused=True))


class Passes(nn.Module):
    """Learned logits of each pass: a gate scales one of them in, so gradients tell the passes apart."""

    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Parameter(torch.randn(16, 5))
        self.branch = nn.Parameter(torch.randn(16, 5))
        self.gate = Gate(affine="none")

    def forward(self, x: Tensor) -> Tensor:
        return self.always + self.gate(self.branch)


@pytest.mark.parametrize(("detach", "reached"), [(True, False), (False, True)])
def test_kl_reaches_the_teacher_only_if_asked(detach: bool, reached: bool) -> None:
    """With survival near 0 the student drops the branch, so only the teacher's pass can reach it."""
    method = SelfGuidance(Passes(), survival=1e-9, detach=detach)
    # p_1 is tiny: scale the teacher's gate up so that its gradient can be seen.
    method.gates.probabilities.fill_(1e-7)
    method.gates.expected = lambda: {"gate": torch.tensor(0.5)}  # type: ignore[method-assign]
    always, branch = gradients(method, "kl")
    assert always is not None
    assert branch is not None
    assert bool(branch.abs().max() > 1e-4) == reached


def test_without_backward_full_the_teacher_gets_no_gradient() -> None:
    method = SelfGuidance(Passes(), survival=1e-9, backward_full=False)
    method.gates.expected = lambda: {"gate": torch.tensor(0.5)}  # type: ignore[method-assign]
    torch.manual_seed(0)
    losses = method(batch())
    assert losses.keys() == {"ce_student", "kl"}
    sum(losses.values()).backward()  # type: ignore[union-attr]
    branch = method.network.get_parameter("branch")
    assert branch.grad is not None
    assert branch.grad.abs().max() == 0


def test_survival_one_gives_two_equal_passes() -> None:
    losses = SelfGuidance(toy(), survival=1.0)(batch())
    torch.testing.assert_close(losses["ce_student"], losses["ce_teacher"])
    assert losses["kl"].abs() < 1e-6


@pytest.mark.parametrize(("statistics", "passes"), [("full", 1), ("both", 2)])
def test_which_passes_move_the_batch_norm_statistics(statistics: Any, passes: int) -> None:
    method = SelfGuidance(toy(), statistics=statistics).train()
    reference = deepcopy(method)
    method(batch())
    assert isinstance(method.network, ResNet)
    assert method.network.bn.num_batches_tracked == passes
    with torch.no_grad():
        for _ in range(passes):
            reference.network(batch().x)
    # The stem sees the same images in both passes; deeper statistics depend on the gates.
    assert isinstance(reference.network, ResNet)
    torch.testing.assert_close(method.network.bn.running_mean, reference.network.bn.running_mean)


def test_full_statistics_are_those_of_the_full_pass() -> None:
    method = SelfGuidance(toy()).train()
    reference = deepcopy(method)
    method(batch())
    with torch.no_grad():
        run(reference.network, batch().x, gates=reference.gates.expected())
    for key, value in method.network.state_dict().items():
        assert torch.equal(value, reference.network.state_dict()[key]), key


@pytest.mark.parametrize("make", [toy, toy_wide, lambda: build("resnet110b", 5)])
@pytest.mark.parametrize("kind", [StochasticDepth, SelfGuidance])
def test_the_deployed_plain_network_gives_eq_4(make: Any, kind: Any) -> None:
    method = kind(make()).double().train()
    for seed in range(2):
        torch.manual_seed(seed)
        method(batch(dtype=torch.float64))
    method.eval()
    x = batch(dtype=torch.float64).x
    plain = make().double()
    plain.load_state_dict(method.predictors()["network"].state_dict())
    expected = run(method.network, x, gates=method.gates.expected()).logits
    torch.testing.assert_close(plain.eval()(x).logits, expected, rtol=1e-9, atol=1e-9)


def test_eq_5_by_gradcheck() -> None:
    """The whole loss, with the gates fixed, is differentiable in the images as autograd says."""
    network = toy().double().eval()
    method = SelfGuidance(network, detach=False).double().eval()
    method.gates.sampled = lambda: dict(  # type: ignore[method-assign]
        zip(method.gates.names, torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), strict=True)
    )
    data = batch(2, dtype=torch.float64)
    x = data.x[:, :, :4, :4].clone().requires_grad_()
    total = lambda x: sum(method(data._replace(views=(x,))).values())  # noqa: E731
    assert torch.autograd.gradcheck(total, (x,), atol=1e-4, fast_mode=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -0.1}, "weight must be at least 0, got -0.1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"survival": 0.0}, "survival must be above 0, got 0.0"),
        ({"survival": [0.5, 1.5, 0.5]}, r"survival must be at most 1, got \[0.5, 1.5, 0.5\]"),
        ({"survival": [0.5, 0.5]}, "survival has 2 probabilities for 3 residual blocks; give one for each"),
        ({"statistics": "none"}, "statistics must be one of 'full', 'both', got 'none'"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelfGuidance(toy(), **arguments)


def test_a_network_without_gates_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no gates"):
        SelfGuidance(nn.Linear(2, 2))


def test_defaults_are_the_papers() -> None:
    """Section 4.1: tau = 3, lambda = 0.25, survival as in Stochastic Depth (p_L = 0.5)."""
    assert unwrap(SelfGuidance.__init__).__kwdefaults__ == {
        "survival": 0.5,
        "weight": 0.25,
        "temperature": 3.0,
        "detach": True,
        "backward_full": True,
        "statistics": "full",
    }
