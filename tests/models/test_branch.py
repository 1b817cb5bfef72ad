"""Branching: every built-in network at every stage, hand-written ones, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call

from cohobate.analysis.cost import cost
from cohobate.core import Output, Shape, fold, gate_names, run
from cohobate.models.backbones.resnet import Bottleneck, ResNet
from cohobate.models.build import build
from cohobate.models.surgery.adapt import Adapted, Tap, adapt
from cohobate.models.surgery.branch import Branched, branch, branch_points

SHAPE: Shape = (3, 8, 8)


def short_xception() -> nn.Module:
    """One block in the middle flow, not eight."""
    network = build("xception", 5)
    stage = network.get_submodule("stages.2")
    assert isinstance(stage, nn.ModuleList)
    network.set_submodule("stages.2", stage[:2])
    return network


FAMILIES: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "resnet": (3, partial(build, "resnet14", 5)),
    "padding": (3, partial(build, "resnet8:shortcut=padding", 5)),
    "bottleneck": (4, lambda: ResNet(Bottleneck, 1, 5, stem=4, widths=(4, 6, 8, 10))),
    "wide": (3, partial(build, "wrn_16_1", 5)),
    "frskd": (3, partial(build, "wrn_16_1:order=frskd", 5)),
    "vgg": (5, partial(build, "vgg8", 5)),
    "mobilenet": (4, partial(build, "mobilenet_v2", 5)),
    "shufflenet_v1": (3, partial(build, "shufflenet_v1", 5)),
    "shufflenet_v2": (3, partial(build, "shufflenet_v2", 5)),
    "xception": (4, short_xception),
}
CUTS = [(family, at) for family, (stages, _) in FAMILIES.items() for at in range(1, stages)]
TABLE = ("resnet32", "resnet110", "resnext50_32x4d", "xception", "shufflenet_v2")


def images(count: int = 2, shape: Shape = SHAPE) -> Tensor:
    return torch.randn(count, *shape, dtype=torch.float64)


@torch.no_grad()
def stir(network: nn.Module) -> None:
    """Every parameter and statistic becomes one of its own."""
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape[-1:]).to(parameter))
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(0.1 * torch.randn_like(buffer))
        if name.endswith("running_var"):
            buffer.mul_(0.5 + torch.rand_like(buffer))


def values(output: Output) -> list[Tensor]:
    pooled = [] if output.pooled is None else [output.pooled]
    return [output.logits, *pooled, *output.stages, *(output.preacts or ())]


def assert_same(one: Output, other: Output) -> None:
    assert len(values(one)) == len(values(other))
    assert len(one.stages) == len(other.stages)
    torch.testing.assert_close(values(one), values(other), rtol=1e-9, atol=1e-10)


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def addresses(module: nn.Module) -> set[int]:
    return {tensor.data_ptr() for tensor in tensors(module)}


# ---------------------------------------------------------------- built-in networks


@pytest.fixture(scope="module")
def cuts() -> dict[tuple[str, int], tuple[nn.Module, Branched]]:
    """Each network, and two branches from each of its stages, made when first asked for."""
    return {}


@pytest.fixture
def sample(
    request: pytest.FixtureRequest, cuts: dict[tuple[str, int], tuple[nn.Module, Branched]]
) -> tuple[nn.Module, Branched]:
    """A network in float64 and its branches; a test that changes them works on a copy."""
    family, at = request.param
    if request.param not in cuts:
        network = FAMILIES[family][1]().double()
        stir(network)
        cuts[request.param] = network, branch(network, at, tails=2, shape=SHAPE)
    return cuts[request.param]


each_cut = pytest.mark.parametrize("sample", CUTS, indirect=True, ids=lambda cut: f"{cut[0]}-{cut[1]}")


def test_every_cut_is_tried() -> None:
    for stages, make in FAMILIES.values():
        assert len(make()(torch.randn(2, *SHAPE)).stages) == stages
    assert len(CUTS) == 25


@each_cut
def test_a_branch_alone_is_what_it_is_inside(sample: tuple[nn.Module, Branched]) -> None:
    network, branched = sample[0], deepcopy(sample[1]).eval()
    stir(branched)
    x = images()
    with torch.no_grad():
        inside = branched(x)
        for i, output in enumerate(inside):
            alone = branched.alone(i)
            assert type(alone) is type(network)
            assert list(alone.state_dict()) == list(network.state_dict())
            assert_same(alone(x), output)
    assert not torch.allclose(inside[0].logits, inside[1].logits)


@each_cut
def test_training_is_that_of_the_uncut_network(sample: tuple[nn.Module, Branched]) -> None:
    """Outputs, gradients and batch-norm statistics; the trunk's move once a pass."""
    network, branched = deepcopy(sample[0]).train(), deepcopy(sample[1]).train()
    x = images(4)
    expected, output = network(x), branched(x)[0]
    assert_same(output, expected)
    output.logits.square().sum().backward()
    expected.logits.square().sum().backward()
    own = dict(branched.trunk.named_parameters()) | dict(branched.tails[0].named_parameters())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(own[name].grad, parameter.grad, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(branched.alone(0).state_dict(), network.state_dict())


@each_cut
def test_a_loss_reaches_the_trunk_and_its_own_tail(sample: tuple[nn.Module, Branched]) -> None:
    branched = deepcopy(sample[1]).train()
    branched(images(4))[1].logits.square().sum().backward()
    for part, reached in ((branched.trunk, True), (branched.tails[0], False), (branched.tails[1], True)):
        assert all((p.grad is not None) == reached for p in part.parameters())


@each_cut
def test_nothing_is_shared_or_kept(sample: tuple[nn.Module, Branched]) -> None:
    network, branched = sample
    parts = [network, branched.trunk, *branched.tails, branched.alone(0)]
    assert len(set[int]().union(*map(addresses, parts))) == sum(len(addresses(part)) for part in parts)
    assert all(p.grad is None for p in network.parameters())
    assert size(branched.trunk) + size(branched.tails[0]) == size(network)


@each_cut
def test_tails_have_different_weights(sample: tuple[nn.Module, Branched]) -> None:
    """The first keeps the network's; what the second draws has the spread of a new network."""
    network, branched = sample
    old, new = (dict(tail.named_parameters()) for tail in branched.tails)
    unlike = build_like(network)
    for name, parameter in network.named_parameters():
        if name in old:
            assert torch.equal(old[name], parameter)
            spread = dict(unlike.named_parameters())[name].std().item()
            assert new[name].std().item() == pytest.approx(spread, rel=0.5, abs=1e-6) or parameter.dim() < 2
            assert not torch.equal(old[name], new[name])


def build_like(network: nn.Module) -> nn.Module:
    return next(
        fresh
        for _, make in FAMILIES.values()
        if (fresh := make()) and list(fresh.state_dict()) == list(network.state_dict())
    )


@pytest.mark.parametrize("name", TABLE)
def test_table_of_branch_points(name: str) -> None:
    """Trunk and one tail have the parameters and the multiply-accumulates of the plain network."""
    network = build(name, 100)
    points = branch_points(network, (3, 8, 8))
    assert [point.at for point in points] == list(range(1, 4 if name in TABLE[2:4] else 3))
    whole = cost(network, (3, 8, 8))
    for point in points:
        assert point.refusal is None
        assert sum(size.parameters for size in point.sizes) == whole.parameters
        assert sum(size.macs for size in point.sizes) == whole.macs


@pytest.mark.parametrize(
    ("tails", "public", "extra"),
    [
        # OKDDip, last stage branched, without the query and key layers of its attention (64 -> 8, no bias).
        (4, 1_554_272, 2 * 64 * 8),
        # ONE, without its gate: a linear layer 32 -> 3 and its batch norm.
        (3, 1_193_189, 32 * 3 + 3 + 2 * 3),
    ],
)
def test_size_is_that_of_the_public_code(tails: int, public: int, extra: int) -> None:
    assert size(branch(build("resnet32", 100), at=2, tails=tails)) == public - extra


# ---------------------------------------------------------------- one branched network


@pytest.fixture
def network() -> nn.Module:
    network = build("resnet8", 5).double()
    stir(network)
    return network


@pytest.fixture
def branched(network: nn.Module) -> Branched:
    return branch(network, at=2, tails=3, shape=SHAPE)


def test_the_trunk_runs_once(branched: Branched) -> None:
    runs = []
    branched.trunk.register_forward_hook(lambda *_: runs.append(1))
    assert len(branched(images())) == 3
    assert len(runs) == 1


def test_what_crosses_is_a_tuple_of_the_stages_that_are_shown(branched: Branched) -> None:
    x = images()
    crossing = branched.trunk(x)
    assert isinstance(crossing, tuple)
    output = branched(x)[2]
    assert output.preacts is not None
    shown = [*output.stages[:2], *output.preacts[:2]]
    assert len(crossing) == len(shown)
    assert all(any(torch.equal(value, s) for s in shown) for value in crossing)


def test_cut_after_a_module(network: nn.Module) -> None:
    """The block that ends a stage, and a layer within a block."""
    whole = branch(network, at=2, tails=1, shape=SHAPE)
    assert size(branch(network, "stages.1.0", 1, SHAPE).trunk) == size(whole.trunk)
    inside = branch(network, "stages.2.0.conv1", 2, SHAPE)
    assert size(inside.trunk) == size(whole.trunk) + 64 * 32 * 9
    stir(inside)
    x = images()
    assert_same(inside.eval().alone(1)(x), inside(x)[1])


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.norm(self.conv(x)) + x
        return added


def sequential() -> nn.Module:
    """Adapted: a stage within a sequence, a gate, the classifier's input tapped."""
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        nn.Sequential(nn.ReLU(inplace=True), Residual()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    )
    return adapt(network, stages=["0.1", "1"], head="2.2", gates=["1.1.norm"], shape=SHAPE)


@pytest.mark.parametrize(("make", "at"), [(partial(build, "resnet8", 5), 2), (sequential, 1)])
def test_compiles_into_one_graph(make: Callable[[], nn.Module], at: int) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    branched = branch(make().double(), at, tails=2, shape=SHAPE).train()
    compiled = torch.compile(deepcopy(branched), fullgraph=True, dynamic=False, backend=counter)
    x = images(4)
    for one, other in zip(compiled(x), branched(x), strict=True):
        assert_same(one, other)
    assert counter.frame_count == 1


def test_copies(branched: Branched) -> None:
    copy = deepcopy(branched).eval()
    assert not addresses(copy) & addresses(branched)
    assert not addresses(copy.alone(0)) & addresses(branched.alone(0))
    stir(branched)
    assert not torch.allclose(copy.alone(1)(images()).logits, branched.alone(1)(images()).logits)


def test_state_dict_round_trip(network: nn.Module, branched: Branched) -> None:
    other = branch(build("resnet8", 5).double(), at=2, tails=3, shape=SHAPE)
    stir(branched)
    assert {key.split(".")[0] for key in branched.state_dict()} == {"trunk", "tails"}
    other.load_state_dict(branched.state_dict())
    x = images()
    for i, output in enumerate(branched.eval()(x)):
        assert_same(other.eval().alone(i)(x), output)
    network.load_state_dict(other.alone(2).state_dict())
    assert_same(network.eval()(x), branched(x)[2])


def test_mode_follows_the_network(network: nn.Module) -> None:
    for training in (True, False):
        branched = branch(network.train(training), at=1, tails=2, shape=SHAPE)
        assert all(module.training == training for module in branched.modules())
        assert all(module.training == training for module in branched.alone(1).modules())
    assert all(not module.training for module in branched.train().eval().alone(0).modules())


def test_type_and_device_follow(network: nn.Module, device: str) -> None:
    branched = branch(network.to(device), at=1, tails=2, shape=SHAPE).float().eval()
    x = torch.randn(2, *SHAPE, device=device)
    alone = branched.alone(1)
    assert {(t.dtype, t.device.type) for t in alone.parameters()} == {(torch.float32, device)}
    torch.testing.assert_close(alone(x).logits, branched(x)[1].logits, rtol=1e-4, atol=1e-5)


def test_gates_are_in_trunk_and_tails(branched: Branched) -> None:
    names = gate_names(branched)
    assert names == ["trunk.stages.0.0.gate", "trunk.stages.1.0.gate"] + [
        f"tails.{i}.stages.2.0.gate" for i in range(3)
    ]
    half = torch.tensor(0.5, dtype=torch.float64)
    x = images()
    branched.eval()
    gated = functional_call(branched, {f"{names[0]}.value": half, f"{names[3]}.value": half}, (x,))
    alone = branched.alone(1)
    gates = {"stages.0.0.gate": half, "stages.2.0.gate": half}
    assert_same(gated[1], run(alone, x, gates=gates))
    assert_same(fold(branched, {names[0]: 0.5, names[3]: 0.5})(x)[1], gated[1])


# ---------------------------------------------------------------- weights of the tails


def test_fresh_tails_come_from_torchs_generator(network: nn.Module) -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(branch(network, at=2, tails=3, shape=SHAPE))
    torch.testing.assert_close(made[0].state_dict(), made[1].state_dict(), rtol=0, atol=0)
    weights = [tail.get_parameter("stages.2.0.conv1.weight") for tail in made[0].tails]
    assert not torch.equal(weights[1], weights[2])
    assert torch.equal(weights[0], network.get_parameter("stages.2.0.conv1.weight"))


def test_fresh_tails_of_a_built_in_network_are_initialised_as_it_is(network: nn.Module) -> None:
    """He's initialisation, fan-out: about 2.4 times the deviation of a convolution's own."""
    tail = branch(network, at=2, tails=2, shape=SHAPE).tails[1]
    weight = tail.get_parameter("stages.2.0.conv2.weight")
    assert weight.shape == (64, 64, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_new_statistics_are_those_of_a_new_network(branched: Branched) -> None:
    norm = branched.tails[1].get_submodule("stages.2.0.bn1")
    assert torch.equal(norm.get_parameter("weight"), torch.ones(64).double())
    assert torch.equal(norm.get_buffer("running_mean"), torch.zeros(64).double())


def test_not_fresh_copies_and_draws_nothing(network: nn.Module) -> None:
    before, state = deepcopy(network.state_dict()), torch.get_rng_state()
    branched = branch(network, at=1, tails=3, shape=SHAPE, fresh=False)
    assert torch.equal(torch.get_rng_state(), state)
    for i in range(3):
        torch.testing.assert_close(branched.alone(i).state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_fresh_by_a_function(network: nn.Module) -> None:
    @torch.no_grad()
    def sevens(whole: nn.Module) -> None:
        assert type(whole) is type(network)
        for parameter in whole.parameters():
            parameter.fill_(7.0)

    branched = branch(network, at=2, tails=2, shape=SHAPE, fresh=sevens)
    assert all((parameter == 7.0).all() for parameter in branched.tails[1].parameters())
    assert not any((parameter == 7.0).any() for parameter in branched.tails[0].parameters())
    assert not any((parameter == 7.0).any() for parameter in branched.trunk.parameters())


# ---------------------------------------------------------------- hand-written networks


class Unit(nn.Module):
    """A residual block that decides by data, which is nobody's business outside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.scale = nn.Parameter(torch.randn(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm(self.conv(F.relu(x)))
        if branch.abs().max() > 0:
            branch = self.drop(branch) * self.scale
        return branch + x


class Plain(nn.Module):
    """A network that knows nothing of cohobate: in-place activations, a dropout, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = nn.Sequential(nn.ReLU(inplace=True), Unit(4))
        self.layer2 = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True), Unit(6))
        self.layer3 = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, stride=2, padding=1))
        self.relu = nn.ReLU(inplace=True)
        self.bias = nn.Parameter(torch.randn(8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        if scale != 1.0:
            x = x * scale
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(self.relu(x).mean(dim=(2, 3)) + self.bias)


def plain(stages: Iterable[str] = ("layer1", "layer2", "layer3")) -> Adapted:
    network = adapt(
        Plain(), stages=list(stages), gates=["layer1.1.norm", "layer2.2.norm"], shape=SHAPE
    ).double()
    assert isinstance(network, Adapted)
    stir(network)
    return network


ADAPTED_CUTS: list[int | str] = [
    1,
    2,
    "stem",
    "layer1",
    "layer1.1",
    "layer2.0",
    "layer2.1",
    "layer3.0",
]


@pytest.mark.parametrize("at", ADAPTED_CUTS)
def test_adapted(at: int | str) -> None:
    network = plain()
    branched = branch(network, at, tails=2, shape=SHAPE)
    stir(branched)
    x = images()
    inside = branched.eval()(x)
    for i, output in enumerate(inside):
        alone = branched.alone(i)
        assert isinstance(alone, Adapted)
        assert list(alone.state_dict()) == list(Plain().state_dict())
        assert_same(alone(x), output)
    assert size(branched.trunk) + size(branched.tails[1]) == size(network)


def test_adapted_branches_train() -> None:
    """Gradients of every part; dropout, data and the extra argument are where they were."""
    network = plain().train()
    branched = branch(network, at=1, tails=2, shape=SHAPE)
    x = images(4)
    torch.manual_seed(1)
    expected = network(x)
    torch.manual_seed(1)
    outputs = branched(x)
    assert_same(outputs[0], expected)
    sum(output.logits.square().sum() for output in outputs).backward()
    assert all(p.grad is not None for p in branched.parameters())
    assert torch.equal(outputs[0].stages[0], outputs[1].stages[0])


def test_adapted_keeps_gates_and_no_features() -> None:
    branched = branch(plain(), at=1, tails=2, shape=SHAPE)
    names = gate_names(branched)
    assert names == ["trunk.network.layer1.1.norm.gate"] + [
        f"tails.{i}.network.layer2.2.norm.gate" for i in range(2)
    ]
    half = torch.tensor(0.5, dtype=torch.float64)
    x = images()
    gated = functional_call(branched.eval(), {f"{name}.value": half for name in names}, (x,))
    own = {f"network.{path}.norm.gate": half for path in ("layer1.1", "layer2.2")}
    assert_same(gated[1], run(branched.alone(1), x, gates=own))
    hooks = [
        h for m in branched.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())
    ]
    assert len(hooks) == len(names)
    assert not any(isinstance(hook, Tap) for hook in hooks)


def test_taps_on_single_layers() -> None:
    """Stages that are layers of torch, which are never looked into, and the head that is tapped before."""
    network = plain(("stem", "layer2.0", "layer3.1"))
    for at in (1, 2):
        branched = branch(network, at, tails=2, shape=SHAPE).eval()
        x = images()
        assert_same(branched(x)[0], network.eval()(x))
        assert_same(branched(x)[1], branched.alone(1)(x))


def test_in_place_activations_spare_what_is_shared() -> None:
    """layer3 begins with one: it would turn the stage of every branch into its ReLU."""
    branched = branch(plain(), at=2, tails=2, shape=SHAPE).eval()
    for output in branched(images()):
        assert (output.stages[1] < 0).any()


def test_fresh_tails_of_an_adapted_network() -> None:
    """Layers reset themselves; a parameter that no layer resets has its numbers in another order."""
    branched = branch(plain(), at=2, tails=2, shape=SHAPE)
    old, new = (dict(tail.named_parameters()) for tail in branched.tails)
    assert all(not torch.equal(old[name], new[name]) for name in old)
    bias = [tail["network.bias"] for tail in (old, new)]
    torch.testing.assert_close(bias[0].sort().values, bias[1].sort().values)
    assert new["network.layer3.1.weight"].abs().max() <= (6 * 9) ** -0.5  # nn.Conv2d's own initialisation


def test_a_network_without_stages_branches_after_a_module() -> None:
    network = Plain().double()
    branched = branch(network, "layer2", tails=2, shape=SHAPE).eval()
    x = images()
    assert branched(x)[1].stages == ()
    alone = branched.alone(1)
    assert isinstance(alone, Plain)
    torch.testing.assert_close(alone(x), branched(x)[1].logits)


# ---------------------------------------------------------------- refusals


class Three(nn.Module):
    """Three convolutions, whose outputs are the stages, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 3)
        self.two = nn.Conv2d(3, 3, 3)
        self.three = nn.Conv2d(3, 3, 3)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(3, 5)

    def show(self, *stages: Tensor) -> Output:
        pooled = stages[-1].mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, stages)

    def forward(self, x: Tensor) -> Output:
        one = self.relu(self.one(x))
        two = self.relu(self.two(one))
        return self.show(one, two, self.three(two))


class ByData(Three):
    def forward(self, x: Tensor) -> Output:
        return super().forward(x if x.sum() > 0 else -x)


class BySize(Three):
    def forward(self, x: Tensor) -> Output:
        return super().forward(x[:, :, 1:, 1:] if x.shape[2] > 32 else x)


class Shared(Three):
    def forward(self, x: Tensor) -> Output:
        one = self.one(x)
        return self.show(one, self.two(one), self.one(self.two(one)))


class Tied(Three):
    def __init__(self) -> None:
        super().__init__()
        self.two.weight = self.one.weight


class Bare(Three):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Output:
        one = self.one(x * self.scale)
        return self.show(one, self.two(one), self.three(one) * self.scale)


class FunctionalDropout(Three):
    def forward(self, x: Tensor) -> Output:
        one = self.one(x)
        two = F.dropout(self.two(one), 0.5, self.training)
        return self.show(one, two, self.three(two))


class HiddenDropout(Three):
    """Its dropout is scaled by what starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, x: Tensor) -> Output:
        one = self.one(x)
        two = self.two(one)
        return self.show(one, two + self.scale * F.dropout(two, 0.5, self.training), self.three(two))


class MoreStatistics(Three):
    """Shows its batch norm more in training than it uses."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Output:
        if self.training:
            self.norm(2 * x)
        return super().forward(self.norm(x))


class Overwriting(Three):
    def forward(self, x: Tensor) -> Output:
        one = self.one(x)
        two = self.two(one)
        one.mul_(2)
        return self.show(two, two + one[:, :, 2:, 2:], self.three(two))


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(1, dim=1)


class AllAtOnce(Three):
    """Its stages are one tuple, made by a single ``split``."""

    def forward(self, x: Tensor) -> Output:
        x = self.three(x)
        return Output(self.fc(x.mean(dim=(2, 3))), None, x.split(1, dim=1))


REFUSALS: list[tuple[Callable[[], nn.Module], int | str, str]] = [
    (ByData, 1, "ByData cannot be cut after stage 1: its forward branches on a tensor's values"),
    (BySize, 2, "BySize cannot be cut after stage 2: its forward branches on a tensor's values"),
    (lambda: adapt(Plain(), stages=["layer1", "layer2", "layer3"], shape=SHAPE), "layer2.2.drop",
     "Plain cannot be cut after layer2.2.drop: the code of layer2.2 branches on a tensor's values"),
    (Shared, 1, "after stage 1: the module one (its weight) is used both before and after the cut"),
    (Tied, 1, "after stage 1: the module two (its weight) is used both before and after the cut"),
    (Bare, 1, "Bare cannot be cut after stage 1: the parameter scale is used both before and after the cut"),
    (FunctionalDropout, 1, "in training mode its logits would not be that of the uncut network"),
    (FunctionalDropout, 2, "(nn.Dropout, not F.dropout)"),
    (HiddenDropout, 1, "in training mode its stage 2 would not be that of the uncut network"),
    (MoreStatistics, 1, "in training mode its norm.running_mean would not be"),
    (Overwriting, "one", "Overwriting cannot be cut after one: an in-place operation after it"),
    (Overwriting, 1, "overwrites the trunk's output, which all tails read; replace it"),
    (AllAtOnce, 1, "AllAtOnce cannot be cut after stage 1: its output is not a tensor"),
    (Three, "fc", "Three cannot be cut after fc: no parameter comes after it"),
    (Three, "relu", "at='relu': this module of Three runs 2 times in a pass"),
    (Three, "thre", "at='thre': this module of Three does not exist; the nearest that do are three,"),
    (Three, "", "at='': this module of Three does not exist"),
    (Three, 0, "at=0: Three has 3 stages (stage 1, stage 2, stage 3)"),
    (Three, 3, "at goes from 1 to 2, or the path of a module"),
    (Three, -1, "at=-1: Three has 3 stages"),
    (lambda: build("resnet8", 5), "stages.1", "at='stages.1': this module of ResNet does not run by itself"),
    (lambda: adapt(Plain(), stages=["layer2"], shape=SHAPE), 1, "at=1: Plain has 1 stages (layer2)"),
    (lambda: adapt(Plain(), stages=["layer2"], shape=SHAPE), "layer22",
     "at='layer22': this module of Plain does not exist; the nearest that do are layer2.2, layer2, layer2.1"),
    (Plain, 1, "Plain has no stages to cut after: name a module by its path"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "at", "message"), REFUSALS)
def test_refusals_say_why(make: Callable[[], nn.Module], at: int | str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        branch(make(), at, tails=2, shape=SHAPE)


def test_refused_points_say_why() -> None:
    points = branch_points(Shared(), SHAPE)
    assert [point.at for point in points] == [1, 2]
    for point, name in zip(points, ("one", "two"), strict=True):
        assert point.refusal is not None
        assert f"the module {name} (its weight) is used both before and after the cut" in point.refusal
        assert point.sizes is None
    assert [point.stage for point in branch_points(plain(), SHAPE)] == ["layer1", "layer2"]
    with pytest.raises(ValueError, match="Plain has no stages"):
        branch_points(Plain(), SHAPE)


def test_numbers_of_tails(branched: Branched) -> None:
    with pytest.raises(ValueError, match="one tail or more, got tails=0"):
        branch(build("resnet8", 5), at=1, tails=0)
    with pytest.raises(ValueError, match="numbered from 0 to 2, got 3"):
        branched.alone(3)


def test_a_refusal_leaves_the_network_alone() -> None:
    network = Shared().train()
    hooks, state = len(network.one._forward_hooks), deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="both before and after the cut"):
        branch(network, at=1, tails=2, shape=SHAPE)
    assert len(network.one._forward_hooks) == hooks
    torch.testing.assert_close(network.state_dict(), state, rtol=0, atol=0)
    assert network.training
