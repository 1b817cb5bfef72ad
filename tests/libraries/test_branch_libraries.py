"""Networks of timm and torchvision branch at every stage, or say why not."""

from __future__ import annotations

import pytest
import torch

from cohobate.core import Shape, gate_names
from cohobate.models.build import build
from cohobate.models.surgery.branch import branch, branch_points

SHAPE: Shape = (3, 64, 64)
EVERY_STAGE = [
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "torchvision:convnext_tiny",
    "timm:resnet18",
    "timm:resnet18:drop_path_rate=0.2",
    "timm:efficientnet_b0",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224:img_size=64",
]


@pytest.mark.parametrize("spec", EVERY_STAGE)
def test_every_stage(spec: str) -> None:
    network = build(spec, 5, shape=SHAPE)
    whole = sum(p.numel() for p in network.parameters())
    points = branch_points(network, SHAPE)
    assert [point.at for point in points] == [1, 2, 3]
    assert [point.refusal for point in points] == [None] * 3
    for point in points:
        assert sum(size.parameters for size in point.sizes) == whole
    assert list(points) == sorted(points, key=lambda point: point.sizes[0].parameters)


@pytest.mark.parametrize("spec", EVERY_STAGE)
def test_a_branch_alone_is_what_it_is_inside(spec: str) -> None:
    """Other weights everywhere: nothing is left of those that it was made with."""
    network = build(spec, 5, shape=SHAPE)
    branched = branch(network, at=2, tails=2, shape=SHAPE).eval()
    with torch.no_grad():
        for parameter in branched.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        x = torch.randn(2, *SHAPE)
        inside = branched(x)
        for i, output in enumerate(inside):
            alone = branched.alone(i)
            assert list(alone.state_dict()) == list(network.state_dict())
            torch.testing.assert_close(tuple(alone(x)), tuple(output), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(inside[0].logits, inside[1].logits, atol=1e-3)
    branched.train()(x)[1].logits.sum().backward()
    assert all(p.grad is not None for p in branched.trunk.parameters())
    assert all(p.grad is None for p in branched.tails[0].parameters())
    assert len(gate_names(branched)) > 0


def test_functional_dropout_is_refused() -> None:
    """timm's ResNet calls F.dropout(x, training=self.training) in its own forward."""
    network = build("timm:resnet18:drop_rate=0.2", 5, shape=SHAPE)
    for point in branch_points(network, SHAPE):
        assert point.refusal is not None
        assert "ResNet cannot be cut after layer" in point.refusal
        assert "in training mode its logits" in point.refusal
