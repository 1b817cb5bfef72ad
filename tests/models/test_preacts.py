"""What an adapted network's stages were before their last ReLU."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import CLASSES, SIZE, HandWritten, batch, toy_data

import cohobate
from cohobate.commands.prepare import prepare
from cohobate.core import Output
from cohobate.methods.ofd import OFD
from cohobate.models.surgery.adapt import adapt
from cohobate.models.surgery.norms import stage_norms
from cohobate.models.surgery.preacts import give_preacts
from cohobate.models.surgery.probe import look
from cohobate.recipes.options import options

SHAPE = (3, SIZE, SIZE)


class Functional(nn.Module):
    """A residual block whose ReLUs are functions."""

    def __init__(self, inputs: int, outputs: int, stride: int, how: str = "relu") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return out.relu_() if self.how == "method" else F.relu(out, inplace=self.how == "in place")


class Linear(nn.Module):
    """An inverted residual: no ReLU at its end."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn(self.conv(x))  # type: ignore[no-any-return]


class Stages(nn.Module):
    """Two stages of any kind."""

    def __init__(self, one: nn.Module, two: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1, self.layer2 = one, two
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        return self.fc(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def functional(how: str = "relu") -> nn.Module:
    return Stages(nn.Sequential(Functional(8, 8, 1, how)), Functional(8, 8, 2, how))


def plain() -> nn.Module:
    """Convolution, batch norm, ReLU in place."""

    def layer(stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(8, 8, 3, stride, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.0)
        )

    return Stages(layer(1), layer(2))


RELUS = {
    "shared modules in place": HandWritten,
    "modules": plain,
    "functions": functional,
    "functions in place": lambda: functional("in place"),
    "methods": lambda: functional("method"),
}


@pytest.mark.parametrize("make", RELUS.values(), ids=RELUS.keys())
def test_before_the_last_relu(make: Any) -> None:
    torch.manual_seed(0)
    network = adapt(make(), shape=SHAPE)
    keys, x = set(network.state_dict()), batch().x
    before: list[Output] = [deepcopy(network).train(mode)(x) for mode in (True, False)]
    assert before[0].preacts is None
    give_preacts(network, SHAPE)
    assert set(network.state_dict()) == keys
    for copy in (network, deepcopy(network)):
        for mode, expected in zip((True, False), before, strict=True):
            output = deepcopy(copy).train(mode)(x)
            assert torch.equal(output.logits, expected.logits)
            assert output.preacts is not None
            for stage, preact, same in zip(output.stages, output.preacts, expected.stages, strict=True):
                assert torch.equal(stage, same)
                assert torch.equal(preact.relu(), stage)
                assert preact.min() < 0
    output.preacts[0].sum().backward()
    assert len(stage_norms(network, SHAPE)) == 2


def test_a_linear_stage_is_its_own() -> None:
    end = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8))
    network = adapt(Stages(Linear(8), end), shape=SHAPE)
    give_preacts(network, SHAPE)
    output = network(batch().x)
    assert all(s is p for s, p in zip(output.stages, output.preacts, strict=True))
    assert [norm.num_features for norm in stage_norms(network, SHAPE)] == [8, 8]


def silu() -> nn.Module:
    return Stages(
        Linear(8), nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(inplace=True))
    )


def shared() -> nn.Module:
    relu = nn.ReLU()
    first = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), relu)
    return Stages(first, nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), relu, nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU()))


def bare() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, CLASSES))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (silu, "Stages: the stage 'layer2' ends neither in a ReLU nor in a batch norm"),
        (shared, "Stages: the ReLU network.layer1.1 that ends the stage 'layer1' also runs after it"),
        (bare, "Sequential gives no stages"),
    ],
)
def test_what_has_no_such_point_is_refused(make: Any, message: str) -> None:
    network = adapt(make(), shape=SHAPE)
    with pytest.raises(ValueError, match=message):
        give_preacts(network, SHAPE)


@pytest.mark.parametrize("make", RELUS.values(), ids=RELUS.keys())
def test_overhaul_between_adapted_networks(make: Any) -> None:
    torch.manual_seed(0)
    student, teacher = adapt(make(), shape=SHAPE), adapt(make(), shape=SHAPE)
    data = toy_data()
    terms = cohobate.make_terms("overhaul", student, teacher, data)
    assert isinstance(terms["overhaul"], OFD)
    losses = cohobate.Distillation(student, teacher, terms, ce_weight=1.0)(batch())
    assert losses["overhaul"] > 0
    losses["overhaul"].backward()
    assert any(p.grad is not None and p.grad.any() for p in student.parameters())


def test_frskd_with_overhaul_on_a_network_from_elsewhere() -> None:
    given = {"model": f"{__file__}:users", "features": "overhaul", "batch_size": 16, "device": "cpu"}
    config = options("frskd", given)
    prepared = prepare("frskd", config, lambda _: toy_data())
    prepared.check()
    losses = prepared.first_phase().method(batch())
    assert losses["feature"] > 0
    losses["feature"].backward()


def users(classes: int) -> nn.Module:
    return functional()


def test_it_compiles_to_one_graph() -> None:
    torch.manual_seed(0)
    network = adapt(functional(), shape=SHAPE).double()
    give_preacts(network, SHAPE)
    x = batch(dtype=torch.float64).x
    torch._dynamo.reset()
    compiled = torch.compile(deepcopy(network), fullgraph=True, backend="eager")
    for _ in range(2):
        for one, two in zip(network(x).preacts, compiled(x).preacts, strict=True):
            torch.testing.assert_close(one, two)


def test_a_built_in_network_stays() -> None:
    network = cohobate.build("resnet8", CLASSES)
    before = look(network, SHAPE).output.preacts
    give_preacts(network, SHAPE)
    after = look(network, SHAPE).output.preacts
    assert before is not None
    assert after is not None
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
