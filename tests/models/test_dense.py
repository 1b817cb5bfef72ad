"""Networks that predict a class for every pixel: shapes, sizes, what learns, names and options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pyramid_counts import head_macs, head_parameters, pyramid_macs, pyramid_parameters, resnet
from safetensors.torch import save_file
from torch import nn

from cohobate.analysis.cost import cost
from cohobate.core import Classifier, Output, as_output
from cohobate.models.build import build, dense_options
from cohobate.models.dense.bifpn import BiFPN, Unchanged, between
from cohobate.models.dense.network import DenseHead, DenseNetwork, Pyramid
from cohobate.models.registry import dense_parts, is_known, parse

SIZES = [(32, 32), (37, 53), (90, 120)]
SMALL = "dense:resnet8:width=8"


def dense(spec: str = SMALL, classes: int = 5, size: tuple[int, int] = (32, 32)) -> DenseNetwork:
    network = build(spec, classes, shape=(3, *size))
    assert isinstance(network, DenseNetwork)
    return network


# ---------------------------------------------------------------- shapes and gradients


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("spec", "first", "levels"),
    [
        (SMALL, 1, 3),
        ("dense:resnet8:width=8:levels=2:extra=2:layers=1", 2, 4),
        ("dense:resnet8:width=8:levels=1:extra=1:upsampling=nearest", 4, 2),
        ("dense:mobilenet_v2:width=8:layers=2", 2, 4),
    ],
)
def test_logits_of_every_pixel(spec: str, first: int, levels: int, size: tuple[int, int]) -> None:
    network = dense(spec, size=size)
    output = network(torch.randn(2, 3, *size))
    assert output.logits.shape == (2, 5, *size)
    assert output.pooled is None
    wanted = [[-(-side // (first * 2**level)) for side in size] for level in range(levels)]
    assert [[*stage.shape] for stage in output.stages] == [[2, 8, *each] for each in wanted]


@pytest.mark.parametrize("spec", [SMALL, "dense:wrn_16_1:width=8:extra=1", "dense:vgg8:width=8"])
def test_every_parameter_learns_from_the_logits(spec: str) -> None:
    """Also every level of the pyramid: what is compared with another network's maps is no noise."""
    network = dense(spec)
    network(torch.randn(2, 3, 32, 32)).logits.square().sum().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []


def test_an_image_has_its_own_logits() -> None:
    network = dense().eval()
    x = torch.randn(2, 3, 37, 53)
    assert torch.allclose(network(x).logits[1:], network(x[1:]).logits, atol=1e-6)


def test_logits_are_those_of_the_shallowest_level_enlarged() -> None:
    network = dense("dense:resnet8:width=8:levels=2").eval()
    output = network(torch.randn(2, 3, 32, 32))
    small = network.head(output.stages[0])
    assert small.shape == (2, 5, 16, 16)
    large = nn.functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
    assert torch.allclose(output.logits, large, atol=1e-6)


# ---------------------------------------------------------------- parts


def test_a_backbone_has_nothing_of_its_classifier() -> None:
    whole, network = build("mobilenet_v2", 5), dense("dense:mobilenet_v2:width=8")
    own = {name for name, _ in network.backbone.named_parameters()}
    rest = {name for name, _ in whole.named_parameters()} - own
    assert {name.partition(".")[0] for name in rest} == {"conv_last", "bn_last", "fc"}
    network.backbone.load_state_dict(
        {k: v for k, v in whole.state_dict().items() if k in network.backbone.state_dict()}
    )
    x = torch.randn(2, 3, 32, 32)
    pairs = zip(whole.eval()(x).stages, as_output(network.backbone.eval()(x)).stages, strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


class Bare(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def test_a_backbone_needs_stages() -> None:
    with pytest.raises(
        ValueError, match=r"Bare gives no stages for a pyramid; name its modules: cohobate\.adapt"
    ):
        DenseNetwork.of(Bare(), 3, (3, 16, 16))


@pytest.mark.parametrize("frozen", ["conv.", "stages.1", ""])
def test_a_frozen_backbone_stays_frozen(frozen: str) -> None:
    """What its classifier needs alone is gone all the same, and nothing else."""
    backbone = build("mobilenet_v2", 5)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    flags = {name: p.requires_grad for name, p in backbone.named_parameters()}
    assert not all(flags.values())
    network = DenseNetwork.of(backbone, 5, (3, 32, 32), width=8, layers=1)
    whole = dense("dense:mobilenet_v2:width=8").backbone
    left = {name: p.requires_grad for name, p in network.backbone.named_parameters()}
    assert left.keys() == {name for name, _ in whole.named_parameters()}
    assert left == {name: flags[name] for name in left}


class Detached(nn.Module):
    """Stages without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> Output:
        x = self.conv(x)
        return Output(x.mean(dim=(2, 3)), None, (x, x))


def test_a_backbone_without_gradients_is_refused() -> None:
    message = r"Detached computes its stages without gradients, .*by requires_grad_\(False\), not by torch"
    network = Detached()
    network.conv.bias.requires_grad_(False)
    with pytest.raises(ValueError, match=message):
        DenseNetwork.of(network, 3, (3, 16, 16))
    assert [p.requires_grad for p in network.parameters()] == [True, False]


def test_layers_of_a_pyramid() -> None:
    """The first enters by laterals, the others take maps of their width; the last has one path."""
    first, middle, last = Pyramid((4, 6, 8), (8, 8, 8), layers=3, depth=1, upsampling="bilinear").layers
    assert isinstance(first, BiFPN)
    assert isinstance(middle, BiFPN)
    assert isinstance(last, BiFPN)
    assert all(any(True for _ in lateral.parameters()) for lateral in [*first.lateral, *first.skip])
    for layer in (middle, last):
        assert all(isinstance(each, Unchanged) for each in [*layer.lateral, *layer.skip, *layer.up])
    assert [len(layer.bottom_up) for layer in (first, middle, last)] == [2, 2, 0]
    assert [len(layer.top_down) for layer in (first, middle, last)] == [2, 2, 2]


def test_a_layer_without_laterals_keeps_the_deepest_map() -> None:
    layer = BiFPN((8, 8), (8, 8), between, depth=1, upsampling="bilinear", bottom_up=False).eval()
    maps = torch.randn(2, 8, 8, 8), torch.randn(2, 8, 4, 4)
    (shallow, deep), _ = layer(maps)
    assert torch.equal(deep, maps[1])
    node = layer.top_down[0]
    enlarged = nn.functional.interpolate(maps[1], scale_factor=2.0, mode="bilinear", align_corners=False)
    expected = node.convs((maps[0] + enlarged) / (2 + 1e-6)).relu()  # Eq. 2, P_1
    assert torch.allclose(shallow, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "blocks", "width", "layers", "levels", "extra", "inside"),
    [
        ("dense:resnet20", 3, 64, 3, 3, 0, 64),
        ("dense:resnet8:width=24:layers=2:extra=1:head=40", 1, 24, 2, 3, 1, 40),
        ("dense:resnet8:width=16:layers=1:levels=2", 1, 16, 1, 2, 0, 16),
    ],
)
def test_sizes_by_formula(
    spec: str, blocks: int, width: int, layers: int, levels: int, extra: int, inside: int
) -> None:
    size = 36, 50
    channels = [16, 32, 64][-levels:] + [64] * extra
    sizes = [(36, 50), (18, 25), (9, 13), (5, 7)][3 - levels :][: levels + extra]
    parameters, macs = resnet(blocks, size)
    parameters += pyramid_parameters(channels, width, layers) + head_parameters(width, inside, 11)
    macs += pyramid_macs(channels, sizes, width, layers) + head_macs(width, inside, 11, sizes[0])
    spent = cost(dense(spec, 11, size), (3, *size))
    assert (spent.parameters, spent.macs) == (parameters, macs)


# ---------------------------------------------------------------- graphs


def test_one_graph_for_the_compiler_and_for_export() -> None:
    """``eager`` runs what was captured; any break in the graph would raise."""
    network, x = (
        Classifier(dense("dense:resnet8:width=8:layers=2", size=(20, 28))).eval(),
        torch.randn(2, 3, 20, 28),
    )
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
        assert torch.allclose(compiled(x), network(x), atol=1e-6)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (x,), dynamic_shapes={"x": {0: batch}})
    larger = torch.randn(5, 3, 20, 28)
    assert torch.allclose(program.module()(larger), network(larger), atol=1e-6)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("dense:resnet20", "dense:resnet20", {}),
        ("dense:resnet20:width=32:shortcut=padding", "dense:resnet20", {"width": 32, "shortcut": "padding"}),
        ("dense:timm:resnet18:pretrained", "dense:timm:resnet18", {"pretrained": True}),
        ("dense:timm:resnet18.a1_in1k:layers=2", "dense:timm:resnet18.a1_in1k", {"layers": 2}),
        ("dense:torchvision:resnet18", "dense:torchvision:resnet18", {}),
        ("efficientdet_d0:pretrained", "efficientdet_d0", {"pretrained": True}),
    ],
)
def test_names(spec: str, name: str, options: dict[str, object]) -> None:
    assert parse(spec) == (name, options)
    assert is_known(name)


@pytest.mark.parametrize("name", ["net.py:make", "package.module:make"])
def test_a_backbone_of_code_is_code(name: str) -> None:
    """A file of somebody else's must not name it, behind ``dense:`` neither."""
    assert parse(f"dense:{name}:width=8") == (f"dense:{name}", {"width": 8})
    assert not is_known(name)
    assert not is_known(f"dense:{name}")


def test_a_name_is_a_backbone_and_options() -> None:
    assert dense_parts("dense:timm:resnet18", {"layers": 2}) == ("timm:resnet18", {"layers": 2})
    assert dense_parts("resnet20", {}) is None
    for number, width in ((0, 64), (1, 88)):
        backbone, options = dense_parts(f"efficientdet_d{number}", {"pretrained": True}) or ("", {})
        assert backbone == f"timm:efficientnet_b{number}"
        assert options == {"width": width, "extra": 2, "head": 256, "pretrained": True}
    assert dense_parts("efficientdet_d0", {"width": 32}) == (
        "timm:efficientnet_b0",
        {"width": 32, "extra": 2, "head": 256},
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dense:", r"'dense:' names no backbone; write dense:resnet20, or dense:timm:NAME"),
        ("dense:dense:resnet8", r"names no backbone"),
        ("dense:resnet2", r"unknown model 'resnet2'; the nearest are .*resnet20"),
        ("dense:net.py:make", r"unknown model 'net\.py:make'"),
        ("efficientdet_d5", r"unknown model 'efficientdet_d5'; the nearest are efficientdet_d[01]"),
        (
            "dense:resnet8:depth=3",
            r"resnet8 has no option 'depth'; it has shortcut, channels, weights; the options of "
            r"dense:resnet8's own pyramid and head are levels, width, layers, extra, convs, upsampling, head",
        ),
        ("dense:resnet8:width=0", r"width must be at least 1, got 0"),
        ("dense:resnet8:layers=two", r"layers must be a whole number, got 'two'"),
        (
            "dense:resnet8:upsampling=cubic",
            r"upsampling must be one of 'bilinear', 'projected', 'nearest', got 'cubic'",
        ),
        ("dense:resnet8:levels=4", r"the backbone gives 3 stages, levels is 4"),
        ("dense:resnet8:levels=1", r"two levels or more, here there is one; .*levels=2.*extra=1"),
    ],
)
def test_what_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(spec, 5, shape=(3, 32, 32))


def test_options_of_a_dense_network() -> None:
    assert dense_options() == ["levels", "width", "layers", "extra", "convs", "upsampling", "head"]
    network = dense("dense:resnet8:width=8:layers=2:extra=1:convs=2:upsampling=projected:head=12:levels=2")
    assert [len(network.pyramid.layers), network.extra, network.head.width] == [2, 1, 12]
    first = network.pyramid.layers[0]
    assert isinstance(first, BiFPN)
    assert (first.upsampling, len(first.lateral)) == ("projected", 3)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in first.top_down[0].modules()) == 2


def test_weights_of_the_whole_network(tmp_path: Path) -> None:
    network = dense()
    assert {key.partition(".")[0] for key in network.state_dict()} == {"backbone", "pyramid", "head"}
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    again = dense(f"{SMALL}:weights={tmp_path / 'w.safetensors'}")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


def test_images_of_one_channel() -> None:
    network = build(SMALL, 3, shape=(1, 20, 24))
    assert network(torch.randn(2, 1, 20, 24)).logits.shape == (2, 3, 20, 24)


def test_a_head_is_as_wide_as_what_it_reads() -> None:
    assert [DenseHead(8, 3).width, DenseHead(8, 3, 20).width] == [8, 20]
