"""What each read-out of a method costs, against counts of layers by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from zoo import CLASSES, SIZE, ZOO, Case, seeded, toy, toy_byot, toy_frskd, toy_wide

from cohobate.analysis.cost import ReadOutCost, cost, needed, readout_costs
from cohobate.core import Classifier, Group, Separate, Sum, as_output
from cohobate.methods.group import Ensemble, predictors
from cohobate.methods.slkd_fusion import Fusion
from cohobate.models.build import build
from cohobate.models.surgery.branch import branch

SHAPE = (3, SIZE, SIZE)


def numel(modules: Iterable[nn.Module]) -> int:
    """The parameters of several modules, each once."""
    return sum(p.numel() for p in {id(p): p for m in modules for p in m.parameters()}.values())


def macs_by_layer(network: nn.Module, image: Tensor) -> dict[nn.Module, int]:
    """Multiply-accumulates of each convolution and linear layer, from the sizes that it sees."""
    found: dict[nn.Module, int] = {}

    def seen(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            each = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        else:
            each = layer.in_features
        found[layer] = found.get(layer, 0) + output.numel() * each

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(seen) for layer in layers]
    network.eval()
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return found


def macs(network: nn.Module, without: Iterable[nn.Module] = ()) -> int:
    dead = {layer for module in without for layer in module.modules()}
    by_layer = macs_by_layer(network, torch.zeros(1, *SHAPE))
    return sum(count for layer, count in by_layer.items() if layer not in dead)


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())
def test_every_read_out_of_every_method_has_a_cost(case: Case) -> None:
    method = seeded(case.make).train()
    next(m for m in method.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    modes = [m.training for m in method.modules()]
    state = {key: value.clone() for key, value in method.state_dict().items()}
    found = method.predictors()
    costs = readout_costs(found, SHAPE)
    assert list(costs) == list(found)
    assert all(each.parameters > 0 and each.macs > 0 for each in costs.values())
    assert [m.training for m in method.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in method.state_dict().items())
    name, deployed = next(iter(found.items()))
    assert costs[name] == cost(deployed, SHAPE)[:2] == needed(deployed, SHAPE)
    assert costs[name].parameters == numel([deployed])
    for name, predictor in found.items():
        if name not in case.ensembles:
            assert costs[name].parameters == numel([predictor])
            assert costs[name].macs == cost(predictor, SHAPE).macs


def test_an_early_exit_needs_no_layer_behind_it() -> None:
    byot = toy_byot()
    costs = readout_costs(byot.predictors(), SHAPE)
    network, exits = byot.network, byot.exits
    _, second, third = network.stages  # type: ignore[misc]
    head = network.fc
    dead = {"exit_1": (second, third, head), "exit_2": (third, head), "ensemble": ()}
    whole = numel([network])
    for name, own in (("exit_1", [exits[0]]), ("exit_2", [exits[1]]), ("ensemble", list(exits))):
        assert costs[name].parameters == whole - numel(dead[name]) + numel(own)
        assert costs[name].macs == macs(byot.predictors()[name], dead[name])
    assert costs["exit_1"].macs < costs["exit_2"].macs < costs["network"].macs < costs["ensemble"].macs


def test_a_self_teacher_needs_the_stages_of_its_network_and_not_its_classifier() -> None:
    frskd = toy_frskd(None)
    costs = readout_costs(frskd.predictors(), SHAPE)
    network, teacher = frskd.network, frskd.self_teacher
    assert costs["self_teacher"].parameters == numel([network, teacher]) - numel([network.fc])
    assert costs["self_teacher"].macs == macs(frskd.predictors()["self_teacher"], [network.fc])


def test_networks_that_share_nothing_add_up() -> None:
    networks = [toy(), toy_wide(), toy()]
    alone = [cost(each, SHAPE) for each in networks]
    both = sum(c.parameters for c in alone), sum(c.macs for c in alone)
    for whole in (Fusion(networks), Sum(networks), Sum([Sum(networks[:1]), *networks[1:]])):
        assert needed(Classifier(whole), SHAPE) == both
    ensemble = predictors(Separate(networks), [0, 2])["ensemble"]
    assert needed(ensemble, SHAPE) == (
        alone[0].parameters + alone[2].parameters,
        alone[0].macs + alone[2].macs,
    )


def test_a_network_that_stands_twice_is_computed_twice_and_stored_once() -> None:
    network = toy()
    assert needed(Sum([network, network]), SHAPE) == (numel([network]), 2 * cost(network, SHAPE).macs)


# ---------------------------------------------------------------- branches


def test_an_ensemble_of_branches_has_its_trunk_once() -> None:
    group = branch(toy(), 2, 4, SHAPE)
    found = needed(Ensemble(group, [1, 2, 3]), SHAPE)
    assert found.parameters == numel([group.trunk, *group.tails[1:]])  # no leader
    trunk = macs(group.trunk)
    assert found.macs == trunk + 3 * (cost(group.alone(1), SHAPE).macs - trunk)


@pytest.mark.parametrize(("peers", "printed"), [(4, 136.8), (3, 114.2)])
def test_printed_multiply_accumulates_of_branches(peers: int, printed: float) -> None:
    """ResNet-32, 100 classes, 4 and 3 branches, as in tests of OKDDip; a leader does not count."""
    group = branch(build("resnet32", 100), 2, peers + 1)
    ensemble = predictors(group, range(1, peers + 1))["ensemble"]
    assert needed(ensemble).macs / 1e6 == pytest.approx(printed, abs=0.05)


def test_an_ensemble_of_branches_predicts_the_mean_of_its_members() -> None:
    group: Group = branch(toy(), 1, 3, SHAPE).eval()
    x = torch.randn(4, *SHAPE)
    found = predictors(group, [1, 2])
    expected = (found["peer_1"](x) + found["peer_2"](x)) / 2
    torch.testing.assert_close(found["ensemble"](x), expected)
    torch.testing.assert_close(found["peer_1"](x), as_output(group(x)[1]).logits)


# ---------------------------------------------------------------- which operations are needed


class Parts(nn.Module):
    """Three linear layers of 4, 4 and 5 outputs, joined by a function."""

    def __init__(self, join: Callable[[Parts, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, CLASSES, bias=False)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self, x.flatten(1))


def dead(p: Parts, x: Tensor) -> Tensor:
    p.two(x)
    return p.head(p.one(x))  # type: ignore[no-any-return]


def dead_after(p: Parts, x: Tensor) -> Tensor:
    hidden = p.one(x)
    logits: Tensor = p.head(hidden)
    p.two(hidden)
    return logits


def added_in_place(p: Parts, x: Tensor) -> Tensor:
    hidden: Tensor = p.one(x)
    hidden.add_(p.two(x))
    return p.head(hidden)  # type: ignore[no-any-return]


def through_a_view(p: Parts, x: Tensor) -> Tensor:
    hidden: Tensor = p.one(x)
    hidden.view(-1)[:2].copy_(p.two(x).view(-1)[:2])
    return p.head(hidden)  # type: ignore[no-any-return]


def written_out(p: Parts, x: Tensor) -> Tensor:
    hidden = torch.empty(1, 4)
    torch.add(p.one(x), p.two(x), out=hidden)
    return p.head(hidden)  # type: ignore[no-any-return]


def changed_by_an_operation_that_returns_nothing(p: Parts, x: Tensor) -> Tensor:
    hidden: Tensor = p.one(x)
    torch._foreach_add_([hidden], [p.two(x)])
    return p.head(hidden)  # type: ignore[no-any-return]


def decided_by_a_number(p: Parts, x: Tensor) -> Tensor:
    return p.head(p.one(x) * p.two(x).sum().item())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("join", "layers"),
    [
        (dead, 1),
        (dead_after, 1),
        (added_in_place, 2),
        (through_a_view, 2),
        (written_out, 2),
        (changed_by_an_operation_that_returns_nothing, 2),
        (decided_by_a_number, 2),
    ],
)
def test_what_reaches_the_logits_counts(join: Callable[[Parts, Tensor], Tensor], layers: int) -> None:
    each = 16 * layers + 4 * CLASSES
    assert needed(Parts(join), (1, 2, 2)) == ReadOutCost(each, each)
    assert cost(Parts(join), (1, 2, 2)).parameters == 32 + 4 * CLASSES
    # What is deployed is stored whole.
    whole = readout_costs({"network": Parts(join)}, (1, 2, 2))["network"]
    assert whole.parameters == 32 + 4 * CLASSES
    assert whole.macs == 32 + 4 * CLASSES


class Attends(nn.Module):
    """Tokens of 8 channels that attend to one another."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head, self.unused = nn.Linear(8, 24), nn.Linear(8, CLASSES), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x.flatten(2).mT).chunk(3, dim=2)
        hidden = scaled_dot_product_attention(query, key, value)
        self.unused(hidden)
        return self.head(hidden.mean(dim=1))  # type: ignore[no-any-return]


def test_attention_counts() -> None:
    found = needed(Attends(), (8, 2, 2))
    assert found.parameters == 9 * 24 + 9 * CLASSES
    projections, attention = 4 * 8 * 24, 2 * 4 * 4 * 8
    assert found.macs == projections + attention + 8 * CLASSES
