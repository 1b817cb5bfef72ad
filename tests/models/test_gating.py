"""Gates on residual networks that were written without them."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from cohobate.core import Batch, Gate, Output, Shape, fold, gate_names, run
from cohobate.methods.self_guidance import SelfGuidance
from cohobate.methods.stochastic_depth import StochasticDepth
from cohobate.models.build import build
from cohobate.models.surgery.adapt import adapt

SHAPE: Shape = (3, 8, 8)


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """As torchvision writes it: one ReLU for all, addition in place."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, planes, stride=stride), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv(planes, planes), nn.BatchNorm2d(planes)
        self.downsample = shortcut(inputs, planes, stride)

    def branch(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, stride=stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, 4 * planes, stride)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(x))

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class DropPath(nn.Module):
    """Drops branches of images in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return (
            x * (torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) >= self.rate) / (1 - self.rate)
        )


class Dropped(nn.Module):
    """A block of names of its own with two branches that end in a DropPath."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.project = conv(inputs, planes, 1, stride)
        self.mix, self.norm, self.scale = (
            conv(planes, planes),
            nn.BatchNorm2d(planes),
            nn.Parameter(torch.ones(1)),
        )
        self.drop_path1 = DropPath(0.0)
        self.mlp = nn.Sequential(nn.Conv2d(planes, planes, 1), nn.GELU(), nn.Conv2d(planes, planes, 1))
        self.drop_path2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        x = x + self.drop_path1(self.scale * self.norm(self.mix(x)))
        return x + self.drop_path2(self.mlp(x))


class Optional(BasicBlock):
    """timm's: a DropPath only where the rate is not zero."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__(inputs, planes, stride)
        self.drop_path = None

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        if self.drop_path is not None:
            out = self.drop_path(out)
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


Optional.__name__ = "BasicBlock"


class Net(nn.Module):
    """Stem, layer1 to layer3 of one or two blocks each, fc."""

    def __init__(self, block: Callable[[int, int, int], nn.Module], blocks: int = 2) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 4), nn.BatchNorm2d(4)
        inputs = 4
        for i, (planes, stride) in enumerate([(2, 1), (4, 2), (4, 2)]):
            layers = []
            for number in range(blocks):
                layers.append(block(inputs, planes, stride if number == 0 else 1))
                inputs = planes * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def basic() -> nn.Module:
    return Net(BasicBlock)


def bottleneck() -> nn.Module:
    return Net(Bottleneck)


def dropped() -> nn.Module:
    return Net(Dropped)


def optional() -> nn.Module:
    return Net(Optional)


ENDS = {
    basic: ["bn2.gate"],
    bottleneck: ["bn3.gate"],
    dropped: ["drop_path1.gate", "drop_path2.gate"],
    optional: ["drop_path.gate"],
}
"""Network -> the gates of each of its six blocks."""

networks = pytest.mark.parametrize("make", ENDS, ids=lambda make: make.__name__)


def stirred(network: nn.Module) -> nn.Module:
    """In float64, with random weights, norms and statistics: nothing is one or zero by chance."""
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(0.3 * torch.rand_like(buffer))
    return network


def images(number: int = 4, device: str = "cpu") -> Tensor:
    return torch.randn(number, *SHAPE, dtype=torch.float64, device=device)


def values(network: nn.Module) -> dict[str, float]:
    """Another value for each gate."""
    return {name: 0.3 + 0.1 * i for i, name in enumerate(gate_names(network))}


def check_folding(network: nn.Module, given: dict[str, float]) -> None:
    """Folded values give what a pass with these values gives, through the same keys."""
    x = images()
    network.eval()
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items()}
    gated, folded = run(network, x, gates=tensors), fold(network, given)
    assert list(folded.state_dict()) == list(network.state_dict())
    torch.testing.assert_close(folded(x).logits, gated.logits, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(folded(x).stages, gated.stages, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(gated.logits, network(x).logits, rtol=1e-3)


# ---------------------------------------------------------------- found


@networks
def test_every_branch_is_gated_in_the_order_of_the_pass(make: Callable[[], nn.Module]) -> None:
    network = make()
    keys, x = list(network.state_dict()), torch.randn(4, *SHAPE)
    torch.manual_seed(1)
    before = deepcopy(network)(x)
    adapted = adapt(network, shape=SHAPE)
    blocks = [f"network.layer{i + 1}.{j}" for i in range(3) for j in range(2)]
    assert gate_names(adapted) == [f"{block}.{end}" for block in blocks for end in ENDS[make]]
    assert adapted.gateless is None
    assert list(adapted.state_dict()) == keys
    assert torch.equal(adapted(x).logits, before)


@networks
def test_gates_of_a_half_fold_exactly(make: Callable[[], nn.Module]) -> None:
    adapted = stirred(adapt(make(), shape=SHAPE))
    check_folding(adapted, dict.fromkeys(gate_names(adapted), 0.5))


@networks
def test_each_gate_folds_into_a_layer_of_its_own(make: Callable[[], nn.Module]) -> None:
    adapted = stirred(adapt(make(), shape=SHAPE))
    check_folding(adapted, values(adapted))
    check_folding(adapted, {gate_names(adapted)[-1]: 0.7})


def test_a_gate_of_zero_leaves_the_shortcut() -> None:
    """By hand: the blocks of a network whose branches are all closed."""
    network = stirred(Net(BasicBlock)).eval()
    x = images()
    expected = F.relu(network.bn1(network.conv1(x)))
    for i in range(3):
        for block in network.get_submodule(f"layer{i + 1}"):
            expected = F.relu(expected if block.downsample is None else block.downsample(expected))
    expected = network.fc(expected.mean((2, 3)))
    adapted = adapt(network, shape=SHAPE)
    closed = {name: torch.zeros((), dtype=torch.float64) for name in gate_names(adapted)}
    torch.testing.assert_close(run(adapted, x, gates=closed).logits, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("number", range(6))
def test_one_gate_of_a_half_halves_its_branch_only(number: int) -> None:
    """By hand: one block whose branch is halved."""
    network = stirred(Net(BasicBlock)).eval()
    adapted = adapt(network, shape=SHAPE)
    x = images()
    h, count = F.relu(network.bn1(network.conv1(x))), 0
    for i in range(3):
        for block in network.get_submodule(f"layer{i + 1}"):
            branch = block.branch(h) * (0.5 if count == number else 1.0)
            h = F.relu(branch + (h if block.downsample is None else block.downsample(h)))
            count += 1
    half = {gate_names(adapted)[number]: torch.tensor(0.5, dtype=torch.float64)}
    torch.testing.assert_close(
        run(adapted, x, gates=half).logits, network.fc(h.mean((2, 3))), rtol=1e-12, atol=1e-12
    )


class Backwards(nn.Module):
    """Three blocks, registered last to first; ``unused`` never runs, ``twice`` runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 5)
        self.unused = BasicBlock(4, 4, 1)
        self.third = BasicBlock(4, 4, 1)
        self.twice = BasicBlock(4, 4, 1)
        self.second = Bottleneck(4, 1, 1)
        self.first = BasicBlock(3, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.third(self.second(self.first(x)))
        return self.fc(self.twice(self.twice(x)).mean((2, 3)))


def test_order_of_firing_and_what_does_not_fire_once_is_no_gate() -> None:
    adapted = stirred(adapt(Backwards(), shape=SHAPE))
    assert gate_names(adapted) == [f"network.{n}.gate" for n in ("first.bn2", "second.bn3", "third.bn2")]
    assert sum(isinstance(module, Gate) for module in adapted.modules()) == 3
    assert not adapted.network.unused.bn2._forward_hooks
    check_folding(adapted, values(adapted))


def test_gates_named_by_path() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv(3, 4)
            self.one = nn.Sequential(conv(4, 4), nn.BatchNorm2d(4))
            self.two = nn.Conv2d(4, 4, 1)
            self.fc = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = F.relu(x + self.one(x))
            x = F.relu(x + self.two(x))
            return self.fc(x.mean((2, 3)))

    plain = adapt(Own(), shape=SHAPE)
    with pytest.raises(ValueError, match=r"name those branches to cohobate.adapt\(network, gates=\[...\]\)"):
        gate_names(plain)
    # Named in another order than they fire in.
    adapted = stirred(adapt(Own(), gates=["two", "one.1"], shape=SHAPE))
    assert gate_names(adapted) == ["network.one.1.gate", "network.two.gate"]
    check_folding(adapted, values(adapted))
    named = adapt(Net(BasicBlock), gates=["layer2.0.bn2"], shape=SHAPE)
    assert gate_names(named) == ["network.layer2.0.bn2.gate"], "named gates come instead of those found"


def test_no_gates_if_none_are_wanted() -> None:
    adapted = adapt(Net(BasicBlock), gates=[], shape=SHAPE)
    with pytest.raises(ValueError, match="has no gates"):
        gate_names(adapted)


def test_a_network_with_gates_of_its_own_keeps_them() -> None:
    class Own(BasicBlock):
        def __init__(self, inputs: int, planes: int, stride: int) -> None:
            super().__init__(inputs, planes, stride)
            self.gate = Gate("bn2")

        def branch(self, x: Tensor) -> Tensor:
            return self.gate(super().branch(x))

    Own.__name__ = "BasicBlock"
    adapted = stirred(adapt(Net(Own), shape=SHAPE))
    assert gate_names(adapted) == [f"network.layer{i + 1}.{j}.gate" for i in range(3) for j in range(2)]
    check_folding(adapted, values(adapted))


def test_a_block_of_the_same_name_with_other_parts() -> None:
    """No bn2, or a ``drop_path`` that is something else: no gates, nothing broken."""

    class Other(nn.Module):
        expansion = 1

        def __init__(self, inputs: int, planes: int, stride: int) -> None:
            super().__init__()
            self.residual = nn.Sequential(conv(inputs, planes, stride=stride), nn.BatchNorm2d(planes))
            self.shortcut = shortcut(inputs, planes, stride) or nn.Identity()
            self.drop_path = 0.0

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(F.dropout(self.residual(x), self.drop_path, self.training) + self.shortcut(x))

    Other.__name__ = "BasicBlock"
    network = Net(Other)
    adapted = adapt(network, shape=SHAPE)
    assert network.layer1[0].drop_path == 0.0
    with pytest.raises(ValueError, match="Adapted has no gates: end each residual branch"):
        gate_names(adapted)
    ends = [f"layer{i + 1}.{j}.residual.1" for i in range(3) for j in range(2)]
    again = stirred(adapt(Net(Other), gates=ends, shape=SHAPE))
    check_folding(again, values(again))


def test_a_norm_without_parameters_is_no_place_to_fold() -> None:
    """The convolution before the norm is found, and scaling it changes nothing."""

    class Bare(BasicBlock):
        def __init__(self, inputs: int, planes: int, stride: int) -> None:
            super().__init__(inputs, planes, stride)
            self.bn2 = nn.InstanceNorm2d(planes)

    Bare.__name__ = "BasicBlock"
    adapted = adapt(Net(Bare), shape=SHAPE)
    with pytest.raises(ValueError, match=r"gate 'layer1.0.bn2': scaling the layer before it does not scale"):
        gate_names(adapted)


# ---------------------------------------------------------------- refused


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]


class Squeezed(BasicBlock):
    """Attention between the last norm and the addition: the branch is no multiple of the norm."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__(inputs, planes, stride)
        self.se = SqueezeExcite(planes)

    def branch(self, x: Tensor) -> Tensor:
        return self.se(super().branch(x))


class SqueezedOptional(Optional):
    """The same with timm's optional DropPath, after the attention."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__(inputs, planes, stride)
        self.se = SqueezeExcite(planes)

    def branch(self, x: Tensor) -> Tensor:
        return self.se(super().branch(x))


Squeezed.__name__ = SqueezedOptional.__name__ = "BasicBlock"

WHY_NOT = {
    (Squeezed, "bn2"): "the branch does not end there, 'layer1.0.se' goes on from it",
    (SqueezedOptional, "drop_path"): "scaling the layer before it does not scale the branch (an activation "
    "or attention lies between), so it could not be folded for deployment",
    (Squeezed, "se"): "scaling the layer before it does not scale the branch (an activation or attention "
    "lies between), so it could not be folded for deployment",
}


def squeezed(block: Callable[[int, int, int], nn.Module], zero: bool) -> nn.Module:
    network = Net(block)
    for module in network.modules():
        if zero and isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    return network


zeros = pytest.mark.parametrize("zero", [False, True], ids=["plain", "last norm starts at zero"])


@zeros
@pytest.mark.parametrize(("block", "end"), [(Squeezed, "bn2"), (SqueezedOptional, "drop_path")])
def test_attention_in_the_branch_leaves_no_gates_and_says_why(
    block: Callable[[int, int, int], nn.Module], end: str, zero: bool
) -> None:
    network = squeezed(block, zero)
    before = deepcopy(network)
    adapted = adapt(network, shape=SHAPE)
    why = f"Adapted has no gates: gate 'layer1.0.{end}': {WHY_NOT[block, end]}"
    with pytest.raises(ValueError, match=re.escape(why)):
        gate_names(adapted)
    with pytest.raises(ValueError, match=re.escape(why)):
        SelfGuidance(adapted)
    assert not any(isinstance(module, Gate) for module in adapted.modules())
    x = torch.randn(4, *SHAPE)
    assert torch.equal(adapted(x).logits, before(x))


@zeros
@pytest.mark.parametrize("end", ["bn2", "se"])
def test_a_gate_named_before_or_after_attention_is_refused(end: str, zero: bool) -> None:
    network = squeezed(Squeezed, zero)
    with pytest.raises(ValueError, match=re.escape(f"gate 'layer1.0.{end}': {WHY_NOT[Squeezed, end]}")):
        adapt(network, gates=[f"layer1.0.{end}"], shape=SHAPE)
    assert not any(isinstance(module, Gate) for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_an_activation_that_ends_a_branch() -> None:
    """Halving before a ReLU halves after it; before a sigmoid it does not."""

    class Ended(nn.Module):
        def __init__(self, activation: nn.Module) -> None:
            super().__init__()
            self.stem, self.fc = conv(3, 4), nn.Linear(4, 5)
            self.block = nn.Sequential(conv(4, 4), nn.BatchNorm2d(4), activation)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.fc((x + self.block(x)).mean((2, 3)))

    for activation in (nn.ReLU(), nn.ReLU(inplace=True), nn.Dropout(0.5)):
        adapted = stirred(adapt(Ended(activation), gates=["block.2"], shape=SHAPE))
        check_folding(adapted, values(adapted))
    adapted = stirred(adapt(Ended(nn.Dropout(0.5)), gates=["block.1"], shape=SHAPE))
    check_folding(adapted, values(adapted))
    with pytest.raises(ValueError, match=r"gate 'block.2': scaling the layer before it does not"):
        adapt(Ended(nn.Sigmoid()), gates=["block.2"], shape=SHAPE)
    with pytest.raises(ValueError, match=r"gate 'block.1': the branch does not end there, 'block.2' goes on"):
        adapt(Ended(nn.Sigmoid()), gates=["block.1"], shape=SHAPE)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("layer1.0.bn3", "gate 'layer1.0.bn3': no such module; the nearest are layer1.0.bn"),
        ("unused.bn2", "gate 'unused.bn2': the module does not run exactly once in a pass"),
        ("twice.bn2", "gate 'twice.bn2': the module does not run exactly once in a pass"),
    ],
)
def test_a_named_gate_that_cannot_be(gate: str, message: str) -> None:
    network = Net(BasicBlock) if gate.startswith("layer") else Backwards()
    with pytest.raises(ValueError, match=re.escape(message)):
        adapt(network, gates=[gate], shape=SHAPE)
    assert not any(isinstance(module, Gate) for module in network.modules())


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("block", [BasicBlock, Dropped])
def test_self_guidance_compiles_into_one_graph(
    block: Callable[[int, int, int], nn.Module], device: str
) -> None:
    eager = SelfGuidance(stirred(adapt(Net(block, 1), shape=SHAPE))).to(device)
    compiled = deepcopy(eager)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")  # type: ignore[no-untyped-call]
    compiled.compile(fullgraph=True, dynamic=False, backend=counter)
    for seed in range(2):
        batch = Batch((images(8, device),), torch.arange(8, device=device) % 5)
        found = []
        for method in (eager, compiled):
            torch.manual_seed(seed)
            losses = method(batch)
            sum(losses.values()).backward()
            found.append({name: value.detach() for name, value in losses.items()})
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
    assert counter.frame_count == 1
    for (name, p), q in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        assert p.grad is not None, name
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-9)


@networks
def test_self_guidance_trains_and_deploys_the_users_network(make: Callable[[], nn.Module]) -> None:
    bare = make()
    method = SelfGuidance(stirred(adapt(deepcopy(bare), shape=SHAPE)))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    before = [parameter.detach().clone() for parameter in method.parameters()]
    for _ in range(2):
        optimizer.zero_grad()
        sum(method(Batch((images(8),), torch.arange(8) % 5)).values()).backward()
        optimizer.step()
    assert not any(torch.equal(p, was) for p, was in zip(method.parameters(), before, strict=True))
    x = images()
    method.eval()
    deployed = method.predictors()["network"].eval()
    assert list(deployed.state_dict()) == list(bare.state_dict())
    torch.testing.assert_close(deployed(x), method.readouts(x)["network"], rtol=1e-9, atol=1e-9)
    # The user's own network, without cohobate, takes the weights and predicts the same.
    plain = bare.double().eval()
    plain.load_state_dict(deployed.state_dict())
    torch.testing.assert_close(plain(x), deployed(x), rtol=1e-12, atol=1e-12)


def test_a_sampled_pass_is_the_built_in_networks() -> None:
    """The same architecture, ours with gates and a plain one of theirs: the same losses."""
    ours = build("resnet8", 5).double()

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = conv(3, 16), nn.BatchNorm2d(16)
            sizes = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
            self.stages = nn.ModuleList(nn.ModuleList([Block(*size)]) for size in sizes)
            self.fc = nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.bn(self.conv(x)))
            for (block,) in self.stages:
                x = block(x)
            return self.fc(x.mean((2, 3)))

    class Block(nn.Module):
        def __init__(self, inputs: int, planes: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv(inputs, planes, stride=stride), nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = conv(planes, planes), nn.BatchNorm2d(planes)
            self.shortcut = shortcut(inputs, planes, stride) or nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(branch + self.shortcut(x))

    Block.__name__ = "BasicBlock"
    adapted = adapt(Theirs().double(), shape=SHAPE)
    adapted.load_state_dict(ours.state_dict())
    batch = Batch((images(8),), torch.arange(8) % 5)
    for method in (SelfGuidance, StochasticDepth):
        found = []
        for network in (ours, adapted):
            torch.manual_seed(3)
            found.append(method(deepcopy(network))(batch))
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
    one, two = ours(batch.x), adapted(batch.x)
    assert isinstance(two, Output)
    torch.testing.assert_close(one[:3], two[:3], rtol=1e-10, atol=1e-10)
