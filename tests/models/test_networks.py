"""Networks: sizes as printed, shapes, gates, errors."""

from __future__ import annotations

import pytest
import torch

from cohobate.analysis.cost import cost
from cohobate.core import Output, gate_names
from cohobate.models.build import build, names
from cohobate.models.wrn import WideResNet

# Public CIFAR-100 benchmark, 1x1-convolution shortcuts: parameters and MMACs.
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
    "wrn_16_1": (180_916, 26.7),
    "wrn_16_2": (703_284, 101.1),
    "wrn_40_1": (569_780, 83.3),
    "wrn_40_2": (2_255_156, 327.6),
}
BLOCKS = {"resnet8": 3, "resnet20": 9, "resnet110": 54, "resnet110b": 36, "wrn_16_2": 6, "wrn_40_1": 18}


def test_every_name_is_measured() -> None:
    assert set(names()) == {*BENCHMARK, "resnet50c", "resnet110b"}


@pytest.mark.parametrize("name", BENCHMARK)
def test_size_is_the_benchmarks(name: str) -> None:
    spent = cost(build(name, 100))
    assert (spent.parameters, round(spent.macs / 1e6, 1)) == BENCHMARK[name]


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


@pytest.mark.parametrize(
    ("parts", "classes", "millions", "mflops"),
    [
        (("resnet110",), 10, 1.728, 255), (("resnet110",), 100, 1.734, 255),
        (("resnet20",), 10, 0.270, 41), (("resnet20",), 100, 0.276, 41),
        (("resnet20", "resnet14"), 10, 0.442, 68), (("resnet20", "resnet14"), 100, 0.454, 68),
        (("resnet20", "resnet20"), 10, 0.539, 82), (("resnet20", "resnet20"), 100, 0.551, 82),
        (("resnet20", "resnet14", "resnet8"), 10, 0.518, 80),
        (("resnet20", "resnet14", "resnet8"), 100, 0.535, 80),
        (("resnet20", "resnet14", "resnet14"), 10, 0.615, 94),
        (("resnet20", "resnet14", "resnet14"), 100, 0.632, 94),
    ],
)  # fmt: skip
def test_reskd_tables_2_and_3(parts: tuple[str, ...], classes: int, millions: float, mflops: int) -> None:
    """Option-A shortcuts; FLOPs are multiply-accumulates plus two per batch-norm output."""
    spent = [cost(build(part, classes, shortcut="padding")) for part in parts]
    assert sum(s.parameters for s in spent) / 1e6 == pytest.approx(millions, abs=0.0006)
    assert sum(s.flops for s in spent) / 1e6 == pytest.approx(mflops, abs=0.55)


@pytest.mark.parametrize("name", names())
def test_output(name: str) -> None:
    network = build(name, 7)
    with torch.no_grad():
        output = network(torch.randn(2, 3, 16, 16))
    assert isinstance(output, Output)
    assert output.logits.shape == (2, 7)
    assert output.pooled is not None
    assert output.pooled.shape == (2, network.get_submodule("fc").in_features)
    assert [tuple(s.shape[2:]) for s in output.stages] == [(16, 16), (8, 8), (4, 4)]
    assert output.preacts is not None
    for stage, preact in zip(output.stages, output.preacts, strict=True):
        assert torch.equal(stage, preact.relu())


@pytest.mark.parametrize("name", BLOCKS)
def test_every_residual_block_has_a_gate(name: str) -> None:
    assert len(gate_names(build(name, 10))) == BLOCKS[name]


@pytest.mark.parametrize("name", ["resnet8", "resnet110b", "wrn_16_1"])
def test_every_parameter_is_used(name: str) -> None:
    network = build(name, 10)
    network(torch.randn(2, 3, 8, 8)).logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_each_batch_norm_runs_once() -> None:
    """Wide ResNets elsewhere run three of their batch norms twice a step."""
    network = build("wrn_16_1", 10).train()
    network(torch.randn(2, 3, 8, 8))
    counts = [b for k, b in network.named_buffers() if k.endswith("num_batches_tracked")]
    assert len(counts) == 13
    assert all(count == 1 for count in counts)


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet21'; the nearest are .*resnet20"):
        build("resnet21", 10)


def test_bad_depth() -> None:
    with pytest.raises(ValueError, match=r"6n \+ 4 .* got 17"):
        WideResNet(17, 1, 10)
