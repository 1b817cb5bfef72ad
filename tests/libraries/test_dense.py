"""Dense networks on backbones of timm and torchvision; EfficientDet's sizes, counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pyramid_counts import (
    B0,
    B1,
    LAST,
    Block,
    efficientnet,
    halves,
    head_macs,
    head_parameters,
    pyramid_macs,
    pyramid_parameters,
)
from safetensors.torch import save_file

from cohobate.analysis.cost import cost
from cohobate.core import Classifier, as_output
from cohobate.models.build import build
from cohobate.models.dense.network import DenseNetwork
from cohobate.recipes.networks import make_network

pytest.importorskip("timm")
pytest.importorskip("torchvision")

SPECS = [
    "dense:timm:resnet18:width=8",
    "dense:torchvision:resnet18:width=8",
    "dense:torchvision:mobilenet_v2:width=8",
]


@pytest.mark.parametrize(
    ("blocks", "features"), [(B0, 4_007_548), (B1, 6_513_184)], ids=["efficientnet_b0", "efficientnet_b1"]
)
def test_the_count_by_hand_is_that_of_the_published_networks(blocks: Sequence[Block], features: int) -> None:
    """5,288,548 and 7,794,184 parameters without the 1,281,000 of their classifiers."""
    assert efficientnet(blocks, (224, 224))[0] + LAST == features


@pytest.mark.parametrize(
    ("name", "blocks", "width"), [("efficientdet_d0", B0, 64), ("efficientdet_d1", B1, 88)]
)
def test_efficientdet_has_the_sizes_of_the_papers_set_up(
    name: str, blocks: Sequence[Block], width: int
) -> None:
    """Three layers over p2 to p7 of 64 or 88 channels, a head of 256 inside, 21 classes, 512 x 512 pixels."""
    network = build(name, 21, shape=(3, 64, 64)).to("meta")
    parameters, macs = efficientnet(blocks, (512, 512))
    channels, sizes = [24, 40, 112, 320, 320, 320], halves((128, 128), 6)
    parameters += pyramid_parameters(channels, width, 3) + head_parameters(width, 256, 21)
    macs += pyramid_macs(channels, sizes, width, 3) + head_macs(width, 256, 21, (128, 128))
    spent = cost(network, (3, 512, 512))
    assert (spent.parameters, spent.macs) == (parameters, macs)


@pytest.mark.parametrize("spec", [*SPECS, "efficientdet_d0:width=8:head=8"])
def test_a_backbone_of_a_library(spec: str) -> None:
    network = make_network(spec, 4, (3, 45, 61), "segmentation")
    assert isinstance(network, DenseNetwork)
    output = network(torch.randn(2, 3, 45, 61))
    assert output.logits.shape == (2, 4, 45, 61)
    assert [tuple(stage.shape[2:]) for stage in output.stages][:3] == [(12, 16), (6, 8), (3, 4)]
    output.logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    assert not any("network." in key for key in network.state_dict())


@pytest.mark.parametrize("spec", SPECS)
def test_it_is_captured_whole(spec: str) -> None:
    """The maps of torchvision's networks are read by hooks, which torch.export has to follow."""
    network, x = Classifier(make_network(spec, 4, (3, 32, 48))).eval(), torch.randn(2, 3, 32, 48)
    program = torch.export.export(network, (x,))
    assert torch.allclose(program.module()(x), network(x), atol=1e-5)
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
        assert torch.allclose(compiled(x), network(x), atol=1e-5)


def test_weights_of_the_backbone_alone_and_of_the_whole(tmp_path: Path) -> None:
    """``pretrained`` is the library's to load; ``weights=FILE`` is of the whole network."""
    network = build("dense:timm:resnet18:width=8", 4, shape=(3, 32, 32))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    again = build(f"dense:timm:resnet18:width=8:weights={tmp_path / 'w.safetensors'}", 4, shape=(3, 32, 32))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(network.eval()(x).logits, again.eval()(x).logits)
    with pytest.raises(
        ValueError, match=r"timm:resnet18 does not take these options: .*'foo'.*own pyramid and head"
    ):
        build("dense:timm:resnet18:foo=1", 4, shape=(3, 32, 32))


def test_stages_are_those_of_the_classifier() -> None:
    """With the weights that both have: the classifier is gone, the rest as it was."""
    whole = build("timm:efficientnet_b0", 4, shape=(3, 64, 64)).eval()
    network = build("efficientdet_d0", 4, shape=(3, 64, 64)).eval()
    assert isinstance(network, DenseNetwork)
    own = network.backbone.state_dict()
    rest = {key.partition(".")[0] for key in whole.state_dict().keys() - own.keys()}
    assert rest == {"conv_head", "bn2", "classifier"}
    network.backbone.load_state_dict({key: value for key, value in whole.state_dict().items() if key in own})
    x = torch.randn(1, 3, 64, 64)
    pairs = zip(whole(x).stages, as_output(network.backbone(x)).stages, strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
