"""The batch norm of each stage, and that its parameters tell what the stage's negative values are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from zoo import toy_adapted

from cohobate.methods.ofd import margin
from cohobate.models.backbones.resnet import Basic, ResNet
from cohobate.models.build import build
from cohobate.models.surgery.norms import stage_norms

SHAPE = (3, 16, 16)


def paths(name: str) -> list[str]:
    network = build(name, 5)
    modules = {module: path for path, module in network.named_modules()}
    return [modules[norm] for norm in stage_norms(network, SHAPE)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet8", ["stages.0.0.bn2", "stages.1.0.bn2", "stages.2.0.bn2"]),
        ("resnet56", ["stages.0.8.bn2", "stages.1.8.bn2", "stages.2.8.bn2"]),
        ("resnet32x4", ["stages.0.4.bn2", "stages.1.4.bn2", "stages.2.4.bn2"]),
        ("resnet34_cifar", ["stages.0.2.bn2", "stages.1.3.bn2", "stages.2.5.bn2", "stages.3.2.bn2"]),
        ("resnet50_cifar", ["stages.0.2.bn3", "stages.1.3.bn3", "stages.2.5.bn3", "stages.3.2.bn3"]),
        ("wrn_40_2", ["stages.1.0.bn1", "stages.2.0.bn1", "bn"]),
        ("vgg13", ["stages.0.4", "stages.1.4", "stages.2.4", "stages.3.4", "stages.4.4"]),
        ("shufflenet_v1", ["stages.0.3.bn3", "stages.1.7.bn3", "stages.2.3.bn3"]),
    ],
)
def test_norms_of_the_networks(name: str, expected: list[str]) -> None:
    assert paths(name) == expected


def test_stages_of_one_shape_are_told_apart() -> None:
    network = ResNet(Basic, 2, 5, stem=4, widths=(4, 4))
    network.stages[1][0].conv1.stride = (1, 1)
    network.stages[1][0].shortcut = nn.Identity()
    network.eval()
    assert list(stage_norms(network, SHAPE)) == [network.stages[0][1].bn2, network.stages[1][1].bn2]


def test_the_network_is_left_as_it_was() -> None:
    network = build("wrn_16_1", 5).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    stage_norms(network, SHAPE)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_stage_of_parts_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"ShuffleNetV2: stage 0 .*\(116, 8, 8\), comes from no single batch norm"
    ):
        paths("shufflenet_v2")


def test_a_network_that_hides_its_preacts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"HandWritten does not return its stages .*cohobate\.give_preacts"):
        stage_norms(toy_adapted(), (3, 8, 8))


@pytest.mark.parametrize("name", ["vgg8", "wrn_16_2"])
def test_margins_are_the_mean_of_what_is_negative(name: str) -> None:
    """Over a batch that the norms normalise by, each channel has mean beta and deviation |gamma|."""
    network = build(name, 5).train()
    norms = stage_norms(network, (3, 32, 32))
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
        preacts = network(torch.randn(16, 3, 32, 32)).preacts
    for norm, preact in zip(norms, preacts, strict=True):
        errors = relative_errors(margin(norm.weight.detach(), norm.bias.detach()), preact)
        # Sums over many inputs are nearly normal, not quite.
        assert errors.mean() < 0.1
        assert errors.max() < 0.4


def relative_errors(margins: Tensor, preact: Tensor) -> Tensor:
    negative = (preact < 0).sum((0, 2, 3))
    assert negative.min() > 0
    measured = preact.clamp(max=0).sum((0, 2, 3)) / negative
    return (margins / measured - 1).abs()
