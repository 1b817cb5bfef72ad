"""Networks of timm and torchvision as branches: they learn, or the method that cannot says why."""

from __future__ import annotations

import pytest
import torch
from by_name import made_for
from zoo import toy_images

from cohobate.core import Batch, Method
from cohobate.data.arrays import arrays
from cohobate.recipes.job import Job
from cohobate.recipes.options import options

SIZE = 64


def made(method: str, model: str) -> Method:
    x, y = toy_images(40, 0)
    data = arrays(x.repeat_interleave(SIZE // 8, 1).repeat_interleave(SIZE // 8, 2), y)
    learner: Method = made_for(method, Job(options(method, {"model": model}), data))
    return learner


@pytest.mark.parametrize("method", ["ffm_cd", "okddip", "one"])
@pytest.mark.parametrize(
    "model", ["timm:resnet18", "timm:vit_tiny_patch16_224:img_size=64", "torchvision:resnet18"]
)
def test_branches_learn_and_deploy(model: str, method: str) -> None:
    branches = made(method, model).train()
    batch = Batch((torch.randn(4, 3, SIZE, SIZE),), torch.arange(4), None, torch.tensor(0.5))
    sum(branches(batch).values()).backward()  # type: ignore[union-attr]
    learning = [p for p in branches.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
    branches.eval()
    with torch.no_grad():
        (name, deployed), inside = next(iter(branches.predictors().items())), branches.readouts(batch.x)
        torch.testing.assert_close(deployed(batch.x), inside[name], rtol=1e-4, atol=1e-4)


def test_logits_that_no_linear_layer_gives() -> None:
    """SqueezeNet's classifier is a convolution, pooled after it."""
    model = "torchvision:squeezenet1_1"
    with pytest.raises(
        ValueError, match=rf"logits of {model} are not the output of one linear layer; .*gate, sa, ffm"
    ):
        made("ffm_cd", model)
    with pytest.raises(ValueError, match="self-attention reads the features before the classifier"):
        made("okddip", model)
    assert made("ffm", model).peer_readouts == ("peer_1", "peer_2", "peer_3")
