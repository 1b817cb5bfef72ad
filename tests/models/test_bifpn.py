"""The self-teacher's pyramid against its equations, and against the sizes that the paper prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cohobate.analysis.cost import Cost, cost, parameters
from cohobate.core import Output
from cohobate.models.build import build
from cohobate.models.dense.bifpn import BiFPN, Projection, SelfTeacher, enlarged, normalised, reduced

WIDE = "wrn_16_2:order=frskd"
"""The classifier of the authors' code."""

Resize = Callable[[Tensor, nn.Module, Tensor], Tensor]


class Norms:
    """Counts what batch norms write."""

    def __init__(self) -> None:
        self.outputs = 0

    def __call__(self, bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
        self.outputs += x.numel()
        x = (x - x.mean((0, 2, 3), keepdim=True)) * (
            x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5
        ) ** -0.5
        return bn.weight[:, None, None] * x + bn.bias[:, None, None]


def pyramid(layer: BiFPN, maps: Sequence[Tensor], norm: Norms, *, printed: bool) -> list[Tensor]:
    """T_i from eqs. 1 and 2, a map at a time; ``printed``: maps are enlarged before they are projected."""

    def project(projection: nn.Module, x: Tensor) -> Tensor:
        if not isinstance(projection, Projection):
            return x
        return F.relu(norm(projection.bn, F.conv2d(x, projection.conv.weight)))

    def enlarge(x: Tensor, size: torch.Size) -> Tensor:
        if x.shape[2:] == size:
            return x
        if layer.upsampling == "nearest":
            return F.interpolate(x, size=size, mode="nearest")
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    def node(module: nn.Module, *inputs: Tensor) -> Tensor:
        weights = [max(0.0, w) for w in module.weight.tolist()]
        x = sum(w / (sum(weights) + 1e-6) * one for w, one in zip(weights, inputs, strict=True))
        for number, part in enumerate(module.convs):
            x = norm(part, x) if isinstance(part, nn.BatchNorm2d) else part(x.clone() if number else x)
        return x

    last = len(maps) - 1
    p: dict[int, Tensor] = {last: project(layer.lateral[last], maps[last])}
    t: list[Tensor] = []
    for i in range(last - 1, -1, -1):
        size = maps[i].shape[2:]
        if printed:
            up = project(layer.up[i], enlarge(p[i + 1], size))
        else:
            up = enlarge(project(layer.up[i], p[i + 1]), size)
        raw = node(layer.top_down[i], project(layer.lateral[i], maps[i]), up)
        p[i] = F.relu(raw)
    t.append(raw)
    for i in range(1, last + 1):
        below = F.relu(t[-1])
        if below.shape[2:] != maps[i].shape[2:]:
            below = F.max_pool2d(below, 3, stride=2, padding=1)
        inputs = [project(layer.skip[i - 1], maps[i])] + ([p[i]] if i < last else [])
        t.append(node(layer.bottom_up[i - 1], *inputs, project(layer.down[i - 1], below)))
    return t


def made(
    channels: Sequence[int], widths: Sequence[int], sides: Sequence[int], **how: object
) -> tuple[BiFPN, list[Tensor]]:
    torch.manual_seed(0)
    layer = BiFPN(channels, widths, **{"depth": 2, "upsampling": "bilinear", **how}).double()  # type: ignore[arg-type]
    for name, parameter in layer.named_parameters():
        if name.endswith("weight") and parameter.dim() == 1 and len(parameter) <= 3:
            nn.init.uniform_(parameter, -0.5, 2.0)  # a share below zero counts as none
        elif ".bn." in name or name.endswith("bias"):
            nn.init.uniform_(parameter, -0.5, 1.0)
    maps = [torch.rand(3, c, s, s, dtype=torch.float64) for c, s in zip(channels, sides, strict=True)]
    return layer, maps


LEVELS = [
    ((4, 6), (6, 8), (8, 4)),
    ((4, 6, 8), (8, 12, 16), (8, 4, 2)),
    ((4, 6, 8), (5, 5, 5), (8, 4, 2)),
    ((2, 3, 4, 5), (4, 6, 8, 10), (13, 7, 4, 2)),
    ((2, 3, 4, 5, 6), (2, 3, 4, 5, 6), (16, 8, 8, 4, 2)),
]


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
@pytest.mark.parametrize(("channels", "widths", "sides"), LEVELS)
def test_the_paths_against_the_equations(
    channels: tuple[int, ...], widths: tuple[int, ...], sides: tuple[int, ...], upsampling: str
) -> None:
    layer, maps = made(channels, widths, sides, upsampling=upsampling)
    stages, preacts = layer(maps)
    expected = pyramid(layer, maps, Norms(), printed=False)
    for i, (after, before) in enumerate(zip(stages, preacts, strict=True)):
        torch.testing.assert_close(before, expected[i], rtol=1e-9, atol=1e-9)
        assert torch.equal(after, before.relu())
        assert after.shape == (3, widths[i], sides[i], sides[i])


def test_projecting_first_changes_nothing_with_nearest() -> None:
    layer, maps = made((4, 6, 8), (8, 12, 16), (8, 4, 2), upsampling="nearest")
    printed = pyramid(layer, maps, Norms(), printed=True)
    for ours, theirs in zip(layer(maps)[1], printed, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_every_parameter_learns_and_every_map_is_read() -> None:
    layer, maps = made((2, 3, 4, 5), (4, 6, 8, 10), (16, 8, 4, 2))
    for node in [*layer.top_down, *layer.bottom_up]:
        nn.init.ones_(node.weight)  # type: ignore[arg-type]
    for x in maps:
        x.requires_grad_()
    layer(maps)[0][-1].square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in maps)


def test_the_ends_of_the_paths() -> None:
    """T_1 reads the whole top-down path; T_n reads no top-down map of its own level."""
    layer, maps = made((4, 6, 8), (8, 12, 16), (8, 4, 2))
    assert [len(node.weight) for node in layer.top_down] == [2, 2]  # type: ignore[arg-type]
    assert [len(node.weight) for node in layer.bottom_up] == [3, 2]  # type: ignore[arg-type]
    maps[2].requires_grad_()
    assert torch.autograd.grad(layer(maps)[0][0].sum(), maps[2])[0].abs().sum() > 0


def test_shares() -> None:
    shares = normalised(torch.tensor([2.0, -1.0, 6.0], dtype=torch.float64))
    torch.testing.assert_close(
        shares, torch.tensor([0.25, 0.0, 0.75], dtype=torch.float64), rtol=1e-6, atol=0
    )
    assert normalised(torch.tensor([-1.0, -2.0])).tolist() == [0.0, 0.0]


def test_levels_of_any_size() -> None:
    x = torch.rand(2, 3, 14, 14)
    assert reduced(x, torch.empty(2, 1, 14, 14)) is x
    assert enlarged(x, torch.empty(2, 1, 14, 14), "bilinear") is x
    assert torch.equal(reduced(x, torch.empty(2, 1, 3, 3)), F.adaptive_max_pool2d(x, (3, 3)))
    assert torch.equal(reduced(x, torch.empty(2, 1, 7, 7)), F.max_pool2d(x, 3, stride=2, padding=1))
    assert reduced(torch.rand(2, 3, 7, 7), torch.empty(2, 1, 4, 4)).shape[2:] == (4, 4)
    assert enlarged(x, torch.empty(2, 1, 50, 31), "nearest").shape[2:] == (50, 31)


def test_the_self_teacher_reads_the_deepest_stages() -> None:
    teacher = SelfTeacher((6, 8), (12, 16), classes=5)
    maps = [torch.rand(2, c, s, s) for c, s in ((4, 8), (6, 4), (8, 2))]
    output = teacher(maps)
    assert output.logits.shape == (2, 5)
    assert [stage.shape[1] for stage in output.stages] == [12, 16]
    torch.testing.assert_close(output.pooled, output.stages[-1].mean(dim=(2, 3)))
    norms = teacher.last_norms()
    assert [norm.num_features for norm in norms] == [12, 16]
    with pytest.raises(ValueError, match=r"refines stages of channels \(6, 8\), got \(4, 6\)"):
        teacher(maps[:2])


def test_the_last_norms_are_those_of_the_refined_maps() -> None:
    teacher = SelfTeacher((4, 6, 8), (4, 6, 8), classes=5).eval()
    maps = [torch.rand(2, c, s, s) for c, s in ((4, 8), (6, 4), (8, 2))]
    for i, norm in enumerate(teacher.last_norms()):
        before = teacher(maps).preacts[i].detach()
        with torch.no_grad():
            norm.bias += 1
        torch.testing.assert_close(teacher(maps).preacts[i], before + 1)


STAGES = Output(torch.zeros(2, 5), None, tuple(torch.zeros(2, c, 4, 4) for c in (4, 6, 8)))


@pytest.mark.parametrize(
    ("options", "channels", "widths"),
    [
        ({}, (4, 6, 8), (8, 12, 16)),
        ({"pyramid": "bifpn", "width": 0.5}, (4, 6, 8), (4, 4, 4)),
        ({"levels": 2, "width": 1, "depth": 1, "upsampling": "nearest"}, (6, 8), (6, 8)),
        ({"width": 0.01}, (4, 6, 8), (1, 1, 1)),
    ],
)
def test_made_for_a_network(options: Any, channels: tuple[int, ...], widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    teacher = SelfTeacher.of(STAGES, 5, **options)
    assert (teacher.channels, teacher.widths) == (channels, widths)
    of_the_constructor = {name: options[name] for name in ("depth", "upsampling") if name in options}
    torch.manual_seed(0)
    same = SelfTeacher(channels, widths, 5, **of_the_constructor).state_dict()
    assert all(torch.equal(value, same[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be above 0, got 0"),
        ({"levels": 1}, "levels must be at least 2.*, got 1"),
        ({"levels": 4}, r"refines 4 stages, the network shows 3; .*adapt\(network, stages="),
        ({"pyramid": "fpn"}, "pyramid must be one of 'bifpnc', 'bifpn', got 'fpn'"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_made_for_a_network(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelfTeacher.of(STAGES, 5, **options)


@pytest.mark.parametrize(
    ("channels", "widths", "how", "message"),
    [
        ((4,), (8,), {}, "two levels or more"),
        ((4, 8), (8,), {}, r"a width for each, got channels \[4, 8\] and widths \[8\]"),
        ((4, 8), (8, 0), {}, r"widths must be 1 or more, got \[8, 0\]"),
        ((4, 8), (8, 8), {"depth": 0}, "depth must be at least 1, got 0"),
        (
            (4, 8),
            (8, 8),
            {"upsampling": "cubic"},
            "upsampling must be one of 'bilinear', 'nearest', got 'cubic'",
        ),
    ],
)
def test_wrong_arguments(
    channels: tuple[int, ...], widths: tuple[int, ...], how: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BiFPN(channels, widths, **{"depth": 2, "upsampling": "bilinear", **how})  # type: ignore[arg-type]


# ---------------------------------------------------------------- sizes that are printed


def sized(model: str, channels: Sequence[int], widths: Sequence[int], *, printed: bool) -> tuple[Cost, Cost]:
    """Cost of the classifier and of its self-teacher, in our order of resizing or in the printed one."""
    network = build(model, 100).eval()
    teacher = SelfTeacher(channels, widths, 100, upsampling="nearest").requires_grad_(False)
    x = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        maps = network(x).stages
    norms = Norms()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ends = pyramid(teacher.pyramid, maps, norms, printed=printed)
        teacher.fc(ends[-1].relu().mean(dim=(2, 3)))
    return cost(network), Cost(parameters(teacher), counter.get_total_flops() // 2, norms.outputs)


TABLE_6 = [
    ((128, 128, 128), 0.30, 0.67),
    ((256, 256, 256), 0.97, 2.38),
    ((32, 64, 128), 0.19, 0.21),
    ((64, 128, 256), 0.59, 0.68),
]


@pytest.mark.parametrize(("widths", "parameter_ratio", "flops_ratio"), TABLE_6)
def test_table_6(widths: tuple[int, ...], parameter_ratio: float, flops_ratio: float) -> None:
    """Ratios of self-teacher to classifier; FLOPs are multiply-accumulates and two per batch-norm output."""
    network, teacher = sized(WIDE, (32, 64, 128), widths, printed=True)
    assert teacher.parameters / network.parameters == pytest.approx(parameter_ratio, abs=0.005)
    assert teacher.flops / network.flops == pytest.approx(flops_ratio, abs=0.01)


@pytest.mark.parametrize(
    ("widths", "flops_ratio"),
    [((128, 128, 128), 0.67), ((256, 256, 256), 2.37), ((32, 64, 128), 0.17), ((64, 128, 256), 0.55)],
)
def test_projecting_first_is_cheaper(widths: tuple[int, ...], flops_ratio: float) -> None:
    """BiFPN projects nothing between its levels, so only BiFPNc costs less than table 6 has it."""
    network, teacher = sized(WIDE, (32, 64, 128), widths, printed=False)
    assert teacher.flops / network.flops == pytest.approx(flops_ratio, abs=0.005)


def test_public_sizes() -> None:
    """Parameters and million multiply-accumulates of the authors' code."""
    _, wide = sized("wrn_16_2", (32, 64, 128), (64, 128, 256), printed=True)
    assert (wide.parameters, round(wide.macs / 1e6, 1)) == (411_885, 67.7)
    _, deep = sized("resnet18_cifar", (64, 128, 256, 512), (128, 256, 512, 1024), printed=True)
    assert (deep.parameters, round(deep.macs / 1e6, 1)) == (6_375_794, 392.2)
