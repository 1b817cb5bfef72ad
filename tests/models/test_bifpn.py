"""The self-teacher's pyramid against its equations, and against the sizes that the paper prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cohobate import cli
from cohobate.analysis.cost import Cost, cost
from cohobate.commands.outlook import beside
from cohobate.commands.prepare import prepare
from cohobate.core import Output, Separate
from cohobate.data.arrays import arrays
from cohobate.methods.dml import DML
from cohobate.models.build import build
from cohobate.models.dense.bifpn import BiFPN, Projection, enlarged, normalised, reduced
from cohobate.models.dense.self_teacher import SelfTeacher
from cohobate.recipes.options import options as checked_options
from cohobate.report.tables.beside import Beside

WIDE = "wrn_16_2:order=frskd"
"""The classifier of the authors' code."""

Resize = Callable[[Tensor, nn.Module, Tensor], Tensor]


def batch_norm(bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
    variance = x.var((0, 2, 3), correction=0, keepdim=True)
    x = (x - x.mean((0, 2, 3), keepdim=True)) * (variance + 1e-5) ** -0.5
    return bn.weight[:, None, None] * x + bn.bias[:, None, None]


def same_pool(x: Tensor) -> Tensor:
    """Windows of 3x3 a step of 2, as the authors pad them: the larger half of the padding lies behind."""
    (before_h, behind_h), (before_w, behind_w) = (
        ((extra := 2 * (-(-side // 2) - 1) + 3 - side) // 2, extra - extra // 2) for side in x.shape[2:]
    )
    return F.max_pool2d(F.pad(x, (before_w, behind_w, before_h, behind_h)), 3, stride=2)


def pyramid(layer: BiFPN, maps: Sequence[Tensor], *, printed: bool) -> list[Tensor]:
    """T_i from eqs. 1 and 2, a map at a time; ``printed``: maps are enlarged before they are projected."""
    norm = batch_norm

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
            nearest = layer.upsampling == "nearest"
            below = same_pool(below) if nearest else F.max_pool2d(below, 3, stride=2, padding=1)
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


@pytest.mark.parametrize("upsampling", ["bilinear", "projected", "nearest"])
@pytest.mark.parametrize(("channels", "widths", "sides"), LEVELS)
def test_the_paths_against_the_equations(
    channels: tuple[int, ...], widths: tuple[int, ...], sides: tuple[int, ...], upsampling: str
) -> None:
    layer, maps = made(channels, widths, sides, upsampling=upsampling)
    stages, preacts = layer(maps)
    expected = pyramid(layer, maps, printed=upsampling != "projected")
    for i, (after, before) in enumerate(zip(stages, preacts, strict=True)):
        torch.testing.assert_close(before, expected[i], rtol=1e-9, atol=1e-9)
        assert torch.equal(after, before.relu())
        assert after.shape == (3, widths[i], sides[i], sides[i])


def test_the_printed_order_is_the_default() -> None:
    """Eq. 2 enlarges a map before the 1x1 convolution, whose batch norm then sees the larger map."""
    layer = SelfTeacher((4, 6, 8), (8, 12, 16), classes=5).pyramid.double()
    maps = [torch.rand(3, c, s, s, dtype=torch.float64) for c, s in ((4, 8), (6, 4), (8, 2))]
    ours = layer(maps)[1][0]
    torch.testing.assert_close(ours, pyramid(layer, maps, printed=True)[0], rtol=1e-9, atol=1e-9)
    other = pyramid(layer, maps, printed=False)[0]
    assert (ours - other).abs().mean() > 0.01 * ours.abs().mean()


def test_with_nearest_the_windows_begin_at_the_first_pixel() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    like = torch.empty(1, 1, 2, 2)
    assert reduced(x, like, "nearest").flatten().tolist() == [10, 11, 14, 15]
    assert reduced(x, like, "bilinear").flatten().tolist() == [5, 7, 13, 15]
    for height, width in ((2, 2), (3, 3), (1, 2), (7, 7), (6, 9), (9, 6)):
        x = torch.rand(2, 3, height, width)
        like = torch.empty(2, 1, (height + 1) // 2, (width + 1) // 2)
        assert torch.equal(reduced(x, like, "nearest"), same_pool(x))


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
    assert reduced(x, torch.empty(2, 1, 14, 14), "bilinear") is x
    assert enlarged(x, torch.empty(2, 1, 14, 14), "bilinear") is x
    assert torch.equal(reduced(x, torch.empty(2, 1, 3, 3), "bilinear"), F.adaptive_max_pool2d(x, (3, 3)))
    assert torch.equal(
        reduced(x, torch.empty(2, 1, 7, 7), "bilinear"), F.max_pool2d(x, 3, stride=2, padding=1)
    )
    assert reduced(torch.rand(2, 3, 7, 7), torch.empty(2, 1, 4, 4), "bilinear").shape[2:] == (4, 4)
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
            "upsampling must be one of 'bilinear', 'projected', 'nearest', got 'cubic'",
        ),
    ],
)
def test_wrong_arguments(
    channels: tuple[int, ...], widths: tuple[int, ...], how: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BiFPN(channels, widths, **{"depth": 2, "upsampling": "bilinear", **how})  # type: ignore[arg-type]


# ---------------------------------------------------------------- sizes that are printed


def sized(model: str, **options: Any) -> tuple[Cost, Beside]:
    """Cost of a network of 100 classes, and of the self-teacher that ``cohobate train frskd`` puts on it."""
    images = torch.zeros(100, 32, 32, 3, dtype=torch.uint8)
    data = arrays(images, torch.arange(100), val=(images[:1], torch.zeros(1, dtype=torch.long)))
    prepared = prepare("frskd", checked_options("frskd", {"model": model, **options}), lambda _: data)
    method = prepared.first_phase().method
    (line,) = beside(method, (3, 32, 32))
    return cost(method.predictors()["network"]), line


TABLE_6 = [
    ({"pyramid": "bifpn", "width": 1.0}, 0.30, 0.67),
    ({"pyramid": "bifpn", "width": 2.0}, 0.97, 2.38),
    ({"width": 1.0}, 0.19, 0.21),
    ({}, 0.59, 0.68),
]


@pytest.mark.parametrize(("options", "parameter_ratio", "operation_ratio"), TABLE_6)
def test_table_6(options: dict[str, Any], parameter_ratio: float, operation_ratio: float) -> None:
    """Ratios of self-teacher to classifier; operations are MACs and two for each batch-norm output."""
    _, teacher = sized(WIDE, **options)
    assert teacher.parameter_ratio == pytest.approx(parameter_ratio, abs=0.005)
    assert teacher.operation_ratio == pytest.approx(operation_ratio, abs=0.01)


def test_table_6_is_printed_by_a_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.main(["train", "frskd", "--model", WIDE, "--width", "1", "--epochs", "1", "--dry-run"])
    printed = capsys.readouterr().out
    assert "beside the deployed network" in printed
    # Of 8 x 8 images of 10 classes, so a little less than table 6.
    assert re.search(r"self_teacher .* 0\.[12]\d . +0\.2\d ", printed)


@pytest.mark.parametrize(
    ("options", "operation_ratio"),
    [
        ({"pyramid": "bifpn", "width": 1.0}, 0.67),
        ({"pyramid": "bifpn"}, 2.37),
        ({"width": 1.0}, 0.17),
        ({}, 0.55),
    ],
)
def test_projecting_first_is_cheaper(options: dict[str, Any], operation_ratio: float) -> None:
    """BiFPN projects nothing between its levels, so only BiFPNc costs less than table 6 has it."""
    _, teacher = sized(WIDE, upsampling="projected", **options)
    assert teacher.operation_ratio == pytest.approx(operation_ratio, abs=0.005)


def test_public_sizes() -> None:
    """Parameters and million multiply-accumulates of the authors' code, which are those of its order."""
    _, wide = sized("wrn_16_2")
    assert (wide.parameters, round(wide.macs / 1e6, 1)) == (411_885, 67.7)
    _, deep = sized("resnet18_cifar")
    assert (deep.parameters, round(deep.macs / 1e6, 1)) == (6_375_794, 392.2)


def test_only_readouts_that_contain_the_network_are_beside_it() -> None:
    one, two = build("resnet8", 5), build("resnet14", 5)
    assert beside(DML(Separate([one, two])), (3, 32, 32))[0].readout == "ensemble"
