"""Networks of timm for images of other than three channels; torchvision has none."""

from __future__ import annotations

import pytest
import torch

import cohobate


@pytest.mark.parametrize("channels", [1, 4])
def test_timm_makes_a_first_convolution_for_the_channels(channels: int) -> None:
    network = cohobate.build("timm:resnet10t", 5, shape=(channels, 32, 32))
    assert network(torch.randn(2, channels, 32, 32)).logits.shape == (2, 5)
    given = cohobate.build("timm:resnet10t", 5, shape=(channels, 32, 32), in_chans=channels)
    assert given.state_dict()["conv1.0.weight"].shape[1] == channels


def test_torchvision_refuses_them() -> None:
    with pytest.raises(ValueError, match="torchvision:resnet18 is for images of 3 channels, these have 1"):
        cohobate.build("torchvision:resnet18", 5, shape=(1, 32, 32))
