"""Networks that channels_last memory would break on some CPUs are trained in the contiguous layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from zoo import CLASSES, batch, trainer

from cohobate.cli import main
from cohobate.commands.train import fit
from cohobate.config.groups import Settings
from cohobate.core import Batch
from cohobate.data.arrays import arrays
from cohobate.engine.phase import corrupting, place
from cohobate.engine.probe import choose_precision
from cohobate.methods.supervised import Supervised
from cohobate.models.backbones.resnet import Basic, ResNet

CPU = torch.device("cpu")


def narrow(channels: int) -> nn.Module:
    """Its shortcuts are 1x1 convolutions of stride 2 that read so many channels."""
    return ResNet(Basic, 1, CLASSES, stem=channels, widths=(channels, 8, 8))


def is_last(network: nn.Module) -> bool:
    """Whether the convolutions' weights are in channels_last memory, and not in the other one too."""
    weight = network.get_parameter("stages.2.0.conv2.weight")
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


@pytest.mark.parametrize(("channels", "layout"), [(4, "contiguous"), (7, "contiguous"), (8, "channels_last")])
def test_the_choice_of_the_layout(channels: int, layout: str, tmp_path: Path) -> None:
    network = narrow(channels)
    training = trainer(Supervised(network), tmp_path, layout="channels_last")
    assert training.settings.layout == layout
    assert is_last(network) == (layout == "channels_last")
    said: list[str] = []
    place(Supervised(network), CPU, Settings(), said.append)
    assert len(said) == (layout == "contiguous")


@pytest.mark.parametrize(
    ("convolution", "broken"),
    [
        (nn.Conv2d(4, 8, 1, 2), True),
        (nn.Conv2d(3, 8, 1, (1, 2)), True),
        (nn.Conv2d(4, 8, 1, 1), False),
        (nn.Conv2d(4, 8, 3, 2), False),
        (nn.Conv2d(4, 8, 1, 2, groups=4), False),
        (nn.Conv2d(16, 8, 1, 2), False),
    ],
)
def test_which_convolutions(convolution: nn.Module, broken: bool) -> None:
    network = nn.Sequential(nn.ReLU(), convolution)
    assert corrupting(network, CPU) == ("1" if broken else None)
    assert corrupting(network, torch.device("cuda")) is None


def test_the_probe_tries_no_broken_layout() -> None:
    tried = choose_precision(Supervised(narrow(4)), batch(4), Settings()).seconds
    assert list(tried) == ["fp32 contiguous", "bf16 contiguous"]


def test_the_trial_step_has_the_images_of_that_layout() -> None:
    """Contiguous weights and channels_last images end in the same crash."""
    seen = []

    class Seen(Supervised):
        def forward(self, batch: Batch, turn: int = 0) -> dict[str, torch.Tensor]:
            seen.append(batch.x.is_contiguous())
            return super().forward(batch, turn)

    x = np.zeros((40, 8, 8, 3), np.uint8)
    fit(Seen(narrow(4)), arrays(x, np.arange(40) % CLASSES), epochs=1, batch_size=8, device="cpu", quiet=True)
    assert len(seen) > 2
    assert all(seen)


def test_a_line_says_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\n"
        "def net(classes):\n"
        "    return nn.Sequential(\n"
        "        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 1, 2), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),\n"
        "    )\n"
    )
    arguments = ["--model", f"{tmp_path / 'net.py'}:net", "--train-images", "64", "--batch-size", "32"]
    main(
        ["train", "baseline", *arguments, "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    )
    said = capsys.readouterr().err
    assert said.count("note: network.network.2 is a 1x1 convolution that strides") == 1
    assert "as with --layout contiguous" in said
