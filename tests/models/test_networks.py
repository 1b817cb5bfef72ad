"""Networks: sizes as printed, stages, gates, errors."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate.analysis.cost import cost
from cohobate.core import Output, fold, gate_names, run
from cohobate.models.backbones.resnet import Basic, ResNet
from cohobate.models.backbones.shufflenet import shuffle
from cohobate.models.backbones.vgg import VGG
from cohobate.models.backbones.wrn import WideResNet
from cohobate.models.build import build
from cohobate.models.registry import NETWORKS, names

# Public CIFAR-100 benchmark: parameters and MMACs; its ResNets have 1x1-convolution shortcuts.
BENCHMARK = {
    "resnet8": (83_892, 12.5),
    "resnet14": (181_108, 26.7),
    "resnet20": (278_324, 40.8),
    "resnet32": (472_756, 69.1),
    "resnet44": (667_188, 97.4),
    "resnet56": (861_620, 125.8),
    "resnet110": (1_736_564, 253.2),
    "resnet8x4": (1_233_540, 177.1),
    "resnet32x4": (7_433_860, 1083.0),
    "resnet18_cifar": (11_220_132, 555.5),
    "resnet50_cifar": (23_705_252, 1298.0),
    "wrn_16_1": (180_916, 26.7),
    "wrn_16_2": (703_284, 101.1),
    "wrn_40_1": (569_780, 83.3),
    "wrn_40_2": (2_255_156, 327.6),
    "vgg8": (3_965_028, 96.2),
    "vgg11": (9_277_284, 209.4),
    "vgg13": (9_462_180, 284.9),
    "vgg16": (14_774_436, 398.2),
    "vgg19": (20_086_692, 511.4),
    "mobilenet_v2": (812_836, 6.5),
    "shufflenet_v1": (949_258, 38.7),
    "shufflenet_v2": (1_355_528, 44.5),
}

# From published ImageNet sizes: the classifier shrinks from 1000 to 100 classes, and the stem, where
# it is another, from a 7x7 convolution of 3 channels to a 3x3 one.
STEM = 64 * 3 * (3 * 3 - 7 * 7)
DERIVED = {
    "resnet34_cifar": 21_797_672 + STEM - 513 * 900,  # torchvision's resnet34
    "resnext50_32x4d": 25_028_904 + STEM - 2049 * 900,  # torchvision's
    "xception": 22_855_952 - 2049 * 900,  # timm's legacy_xception, which has the original's 3x3 stem
}

# With options, by what they change.
VARIANTS = {
    # A 3x3 stem instead of 1x1, 3 to 24 channels.
    "shufflenet_v2:stem=3x3": 1_355_528 + 24 * 3 * (3 * 3 - 1),
    # No batch norm at the entry of blocks (16, 32, 32, 64, 64, 128 channels), none at the end of the
    # network, but one at the end of each stage: 702,804. The public code has 256 more that nothing uses.
    "wrn_16_2:order=frskd": 703_284 - 2 * 336 - 2 * 128 + 2 * (32 + 64 + 128),
    # Without the two shortcut convolutions and their batch norms.
    "resnet20:shortcut=padding": 278_324 - (16 * 32 + 2 * 32) - (32 * 64 + 2 * 64),
    "resnet110:shortcut=padding": 1_736_564 - (16 * 32 + 2 * 32) - (32 * 64 + 2 * 64),
}

# Channels and pixels of every stage of a 32x32 image, and the number of gates.
NARROW = ((16, 32), (32, 16), (64, 8))
WIDE = ((64, 32), (128, 16), (256, 8))
FOUR = ((64, 32), (128, 16), (256, 8), (512, 4))
BOTTLENECK = ((256, 32), (512, 16), (1024, 8), (2048, 4))
PLAIN = ((64, 32), (128, 16), (256, 8), (512, 4), (512, 4))
STAGES: dict[str, tuple[tuple[tuple[int, int], ...], int]] = {
    "resnet8": (NARROW, 3),
    "resnet14": (NARROW, 6),
    "resnet20": (NARROW, 9),
    "resnet32": (NARROW, 15),
    "resnet44": (NARROW, 21),
    "resnet56": (NARROW, 27),
    "resnet110": (NARROW, 54),
    "resnet50c": (NARROW, 24),
    "resnet110b": (WIDE, 36),
    "resnet8x4": (WIDE, 3),
    "resnet32x4": (WIDE, 15),
    "resnet18_cifar": (FOUR, 8),
    "resnet34_cifar": (FOUR, 16),
    "resnet50_cifar": (BOTTLENECK, 16),
    "resnext50_32x4d": (BOTTLENECK, 16),
    "wrn_16_1": (NARROW, 6),
    "wrn_16_2": (((32, 32), (64, 16), (128, 8)), 6),
    "wrn_40_1": (NARROW, 18),
    "wrn_40_2": (((32, 32), (64, 16), (128, 8)), 18),
    "vgg8": (PLAIN, 0),
    "vgg11": (PLAIN, 0),
    "vgg13": (PLAIN, 0),
    "vgg16": (PLAIN, 0),
    "vgg19": (PLAIN, 0),
    "mobilenet_v2": (((12, 16), (16, 8), (48, 4), (160, 2)), 1 + 2 + 3 + 2 + 2),
    "shufflenet_v1": (((240, 16), (480, 8), (960, 4)), 3 + 7 + 3),
    "shufflenet_v2": (((116, 16), (232, 8), (464, 4)), 0),
    "xception": (((128, 16), (256, 8), (728, 8), (2048, 4)), 3 + 8 + 1),
}


def test_every_name_is_measured() -> None:
    assert set(names()) == {*BENCHMARK, *DERIVED, "resnet50c", "resnet110b"} == set(STAGES)
    assert len(names()) == 28


@pytest.mark.parametrize("name", BENCHMARK)
def test_size_is_the_benchmarks(name: str) -> None:
    spent = cost(build(name, 100))
    assert (spent.parameters, round(spent.macs / 1e6, 1)) == BENCHMARK[name]


@pytest.mark.parametrize(("spec", "parameters"), [*DERIVED.items(), *VARIANTS.items()])
def test_size_follows_from_a_published_one(spec: str, parameters: int) -> None:
    assert cost(build(spec, 100)).parameters == parameters


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [
        ("resnet32", 10, 0.47), ("resnet32", 100, 0.47),
        ("resnet50c", 10, 0.76), ("resnet50c", 100, 0.76),
        ("resnet110b", 10, 1.15),
    ],
)  # fmt: skip
def test_self_guidance_table_1(name: str, classes: int, millions: float) -> None:
    """The printed 1.15M of "ResNet-110" is the bottleneck network at 10 classes."""
    assert round(cost(build(name, classes)).parameters / 1e6, 2) == millions


@pytest.mark.parametrize("name", names())
def test_output(name: str) -> None:
    network = build(name, 7).eval()
    with torch.no_grad():
        output = network(torch.randn(2, 3, 32, 32))
    assert isinstance(output, Output)
    assert output.logits.shape == (2, 7)
    assert output.pooled is not None
    assert torch.equal(network.get_submodule("fc")(output.pooled), output.logits)
    stages, _ = STAGES[name]
    assert [tuple(s.shape) for s in output.stages] == [(2, c, size, size) for c, size in stages]
    assert output.preacts is not None
    for stage, preact in zip(output.stages, output.preacts, strict=True):
        if name == "mobilenet_v2":
            assert preact is stage, "its blocks end without a ReLU"
            assert (stage < 0).any()
        else:
            assert torch.equal(stage, preact.relu())
            assert (preact < 0).any()


@pytest.mark.parametrize("name", names())
def test_every_parameter_learns_and_each_batch_norm_runs_once(name: str) -> None:
    """Wide ResNets elsewhere run three of their batch norms twice a step."""
    network = build(name, 7).train()
    F.cross_entropy(network(torch.randn(4, 3, 32, 32)).logits, torch.arange(4)).backward()
    runs = [m.num_batches_tracked for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert runs
    assert all(count == 1 for count in runs)
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("size", [(1, 1), (9, 13)])
def test_small_and_odd_images(name: str, size: tuple[int, int]) -> None:
    """Down to one pixel; VGG, which pools without padding, down to eight."""
    height, width = (max(8, side) for side in size) if name.startswith("vgg") else size
    with torch.no_grad():
        output = build(name, 7).eval()(torch.randn(1, 3, height, width))
    assert output.logits.isfinite().all()
    assert all(stage.numel() for stage in output.stages)


@pytest.mark.parametrize("name", names())
def test_every_added_branch_has_a_gate(name: str) -> None:
    network = build(name, 10)
    _, gates = STAGES[name]
    if gates:
        assert len(gate_names(network)) == gates
    else:
        with pytest.raises(ValueError, match="has no gates"):
            gate_names(network)


@pytest.mark.parametrize("name", [name for name, (_, gates) in STAGES.items() if gates])
def test_gates_fold_into_what_they_name(name: str) -> None:
    network = build(name, 10).double().eval()
    values = {gate: 0.2 + 0.6 * i / STAGES[name][1] for i, gate in enumerate(gate_names(network))}
    scales = {gate: torch.tensor(value, dtype=torch.float64) for gate, value in values.items()}
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.normal_()  # or a bias left unscaled would not show
        gated = run(network, x, gates=scales).logits
        torch.testing.assert_close(fold(network, values)(x).logits, gated, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(network(x).logits, gated)


def test_frskd_order_is_a_batch_norm_at_the_end_of_each_stage() -> None:
    """Against the description: blocks without a batch norm at their entry, stages that end with one."""
    network = WideResNet(16, 1, 5, order="frskd").double()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    stages: Any = network.stages
    ends = [stages[1][0].bn1, stages[2][0].bn1, network.bn]

    def normalised(x: Tensor, norm: Any) -> Tensor:
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        scaled: Tensor = (x - mean) / (x.var(dim=(0, 2, 3), unbiased=False, keepdim=True) + norm.eps).sqrt()
        return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]

    for norm in ends:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    output = network(x)
    x = network.conv(x)
    for stage, end, read, preact in zip(stages, ends, output.stages, output.preacts, strict=True):
        for block in stage:
            activated = F.relu(x)
            branch = block.conv2(F.relu(normalised(block.conv1(activated), block.bn2)))
            x = branch + (x if block.shortcut is None else block.shortcut(activated))
        x = normalised(x, end)
        torch.testing.assert_close(preact, x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(read, F.relu(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(output.logits, network.fc(F.relu(x).mean(dim=(2, 3))), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_shuffle_deals_the_groups_out(groups: int) -> None:
    x = torch.randn(2, 12, 3, 4)
    shuffled, each = shuffle(x, groups), 12 // groups
    for group in range(groups):
        for i in range(each):
            assert torch.equal(shuffled[:, i * groups + group], x[:, group * each + i])


def test_names_and_their_grammar_need_no_torch() -> None:
    code = """
import sys
from cohobate.models.registry import NETWORKS, is_known, names, parse
assert "resnet20" in names() and NETWORKS["resnet20"].source and is_known("timm:resnet18")
assert parse("resnet20:shortcut=padding") == ("resnet20", {"shortcut": "padding"})
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_say_what_they_take() -> None:
    """What a command line needs to know of them: a default, and the values."""
    found = {}
    for name, entry in NETWORKS.items():
        assert entry.source
        parameters = dict(inspect.signature(entry.make, eval_str=True).parameters)
        assert parameters.pop("classes").annotation is int
        assert parameters.pop("channels").default == 3
        for option, parameter in parameters.items():
            assert get_origin(parameter.annotation) is Literal
            assert parameter.default in get_args(parameter.annotation)
            found[name, option] = get_args(parameter.annotation)
    resnets = [name for name in names() if name.startswith("resne")]
    assert found == {
        **{(name, "shortcut"): ("projection", "padding") for name in resnets},
        **{(name, "order"): ("standard", "frskd") for name in names() if name.startswith("wrn")},
        ("shufflenet_v2", "stem"): ("1x1", "3x3"),
    }


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet20", {"shortcut": "none"}, "shortcut is one of projection, padding, got 'none'"),
        ("resnext50_32x4d", {"shortcut": "B"}, "shortcut is one of projection, padding, got 'B'"),
        ("wrn_16_2", {"order": "mixed"}, "order is one of standard, frskd, got 'mixed'"),
        ("shufflenet_v2", {"stem": "7x7"}, "stem is one of 1x1, 3x3, got '7x7'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, 10, **options)


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet21'; the nearest are .*resnet20"):
        build("resnet21", 10)


def test_wrong_depths() -> None:
    with pytest.raises(ValueError, match=r"6n \+ 4 .* got 17"):
        WideResNet(17, 1, 10)
    with pytest.raises(ValueError, match=r"a width and a number of blocks, got \(16, 32, 64\) and \(1, 1\)"):
        ResNet(Basic, (1, 1), 10)
    with pytest.raises(ValueError, match=r"a VGG has 5 stages, got convolutions \(1, 1\)"):
        VGG((1, 1), 10)
