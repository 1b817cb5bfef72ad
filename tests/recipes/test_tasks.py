"""A network predicts what the labels are for: refused otherwise; one of the user's own is made to fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from dense_zoo import toy_scenes
from handed_over import hand_over
from zoo import toy_images

import cohobate
from cohobate.config.groups import Training
from cohobate.core import Classifier
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.models.dense.network import DenseNetwork, FullSize
from cohobate.recipes.job import Job
from cohobate.recipes.networks import make_network
from cohobate.recipes.tasks import task_of

OWN = """
from torch import nn

def full(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 1)
    )

def coarse(classes):
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Conv2d(8, classes, 1),
    )

def pooled(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

class Staged(nn.Module):
    def __init__(self, channels, deep, classes):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(8, deep, 3, 2, 1), nn.BatchNorm2d(deep), nn.ReLU())
        self.fc = nn.Linear(deep, classes)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)).mean(dim=(2, 3)))

def staged(classes, in_channels, deep=12):
    return Staged(in_channels, deep, classes)

def bands(classes):
    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.AdaptiveAvgPool2d((None, 1)), nn.Flatten(2))
"""


def pictures() -> Dataset:
    """Images with one label each."""
    return arrays(*toy_images(20, 0))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        ("resnet8", "take one with a dense head: dense:resnet8"),
        ("resnet8:shortcut=padding", "take one with a dense head: dense:resnet8:shortcut=padding"),
        (
            "OWN:pooled",
            r"give it a dense head: dense:\S+own\.py:pooled, or let it return logits of shape \(B, K, H, W\)",
        ),
    ],
)
def test_masks_need_a_class_for_every_pixel(model: str, remedy: str, own: Path) -> None:
    spec = model.replace("OWN", str(own))
    message = rf"predicts one class an image, and this data has masks, a label for every pixel; {remedy}$"
    with pytest.raises(ValueError, match=message):
        Job(Training(model=spec), toy_scenes()).network()


@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        ("dense:resnet8:width=8", "take its backbone alone: resnet8"),
        ("dense:OWN:staged:width=8", r"take its backbone alone: \S+own\.py:staged"),
        ("OWN:full", r"let it return logits of shape \(B, K\)"),
    ],
)
def test_one_label_an_image_needs_one_class(model: str, remedy: str, own: Path) -> None:
    message = rf"predicts a class for every pixel, and this data has one label an image; {remedy}$"
    with pytest.raises(ValueError, match=message):
        Job(Training(model=model.replace("OWN", str(own))), pictures()).network()


def test_logits_of_another_shape(own: Path) -> None:
    with pytest.raises(ValueError, match=r"returns logits of shape \(2, 3, 14\); they must be \(B, K\)"):
        make_network(f"{own}:bands", 3, (3, 16, 16), "segmentation")
    assert task_of(torch.zeros(2, 3), "x") == "classification"


def test_a_network_of_ones_own_for_every_pixel(own: Path) -> None:
    network = make_network(f"{own}:full", 5, (3, 20, 28), "segmentation").eval()
    x = torch.randn(2, 3, 20, 28)
    assert network(x).logits.shape == (2, 5, 20, 28)
    assert next(iter(network.state_dict())).startswith("0.")


def test_a_backbone_of_ones_own(own: Path) -> None:
    """Its options and those of the pyramid are told apart; its classifier is gone."""
    spec = f"dense:{own}:staged:width=8:deep=16:layers=2"
    network = make_network(spec, 5, (1, 20, 28), "segmentation")
    assert isinstance(network, DenseNetwork)
    assert (network.channels, len(network.pyramid.layers)) == ((8, 16), 2)
    assert network(torch.randn(2, 1, 20, 28)).logits.shape == (2, 5, 20, 28)
    assert {key.split(".")[1] for key in network.state_dict() if key.startswith("backbone.")} == {
        *("layer1", "layer2"),
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "dense:OWN:staged:wide=8",
            r"own\.py:staged cannot be called .*wide=8.*; the options of dense:\S+:staged's own pyramid "
            r"and head are levels, width, layers, extra, convs, upsampling, head",
        ),
        ("dense:OWN:stages", r"own\.py has no 'stages'; it has .*staged"),
        ("dense:OWN:pooled", r"two levels or more"),
    ],
)
def test_what_is_refused_of_a_backbone_of_ones_own(spec: str, message: str, own: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make_network(spec.replace("OWN", str(own)), 5, (3, 20, 28), "segmentation")


def test_a_smaller_map_is_enlarged_to_the_images(own: Path) -> None:
    network = make_network(f"{own}:coarse", 5, (3, 21, 28), "segmentation").eval()
    assert isinstance(network, FullSize)
    x = torch.randn(2, 3, 21, 28)
    output = network(x)
    small = network.network(x).logits
    assert small.shape == (2, 5, 6, 7)
    assert torch.equal(output.logits, F.interpolate(small, (21, 28), mode="bilinear", align_corners=False))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == [(8, 11, 14), (8, 6, 7)]
    assert torch.equal(Classifier(network)(x), output.logits), "without the features too"
    plain = make_network(f"{own}:coarse", 5, (3, 21, 28))
    assert not any(key.startswith("network.") for key in plain.state_dict())
    plain.load_state_dict(network.state_dict())


# ---------------------------------------------------------------- teachers


def test_a_teacher_predicts_what_its_student_does(tmp_path: Path) -> None:
    """Of a file that says its task, before anything is trained."""
    file = hand_over(tmp_path / "deployed.safetensors")
    job = Job(Training(model="dense:resnet8:width=8", teacher=(str(file),)), toy_scenes())
    message = (
        r"the teacher \S+ predicts one class an image, and this data has masks, .*; a teacher predicts what"
    )
    with pytest.raises(ValueError, match=message):
        job.teacher()


def test_a_teacher_that_sees_larger_images_predicts_the_pixels_of_ours() -> None:
    network = make_network("dense:resnet8:width=8", 4, (3, 32, 40)).eval()
    shown = cohobate.teacher(network, size=(32, 40), images=((0.5,) * 3, (0.5,) * 3)).eval()
    x = torch.randn(2, 3, 16, 20)
    output = shown(x)
    assert output.logits.shape == (2, 4, 16, 20)
    larger = F.interpolate(x, (32, 40), mode="bilinear", antialias=True, align_corners=False)
    whole = network(larger).logits
    assert torch.allclose(output.logits, F.interpolate(whole, (16, 20), mode="bilinear", align_corners=False))
