"""ResKD's set-ups and sizes, against ``printed.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cohobate.analysis.cost import cost
from cohobate.config.groups import Training
from cohobate.core import Sum
from cohobate.models.build import build
from cohobate.papers.setups import find_setup
from cohobate.recipes.options import for_method, options

PRINTED: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("printed.yaml").read_text())["reskd"]
SIZES = [
    (row["depths"], classes, millions, mflops)
    for row in PRINTED["cifar_sizes"]
    for classes, millions, mflops in zip((10, 100), row["params"], row["mflops"], strict=False)
]


def spec(name: str, *, padded: bool) -> str:
    return f"{name}:shortcut=padding" if padded else f"torchvision:{name}"


@pytest.mark.parametrize("name", PRINTED["setups"])
def test_networks_and_images_of_a_set_up(name: str) -> None:
    want, source = PRINTED["setups"][name], find_setup(name).source
    config: Training = options("kd", for_method("kd", find_setup(name).of("kd")))
    small = want["side"] == 32
    assert config.data == want["data"]
    assert config.teacher == (spec(want["teacher"], padded=small),)
    assert config.model == spec(want["student"], padded=small)
    # CIFAR's images have their size; its crop of 4 pixels and its mirror images are those of the data set.
    assert (config.image_size, config.crop, config.flip) == (None if small else want["side"], None, None)
    assert (config.autoaugment, config.cutout) == ("none", 0)
    # "The short side 224" of a test image of ImageNet.
    assert config.eval_resize == want.get("eval_resize")
    # "We resize the original images to 224 x 224 and evaluate them": the whole image, of Tiny-ImageNet alone.
    assert config.fit == ("squash" if "tiny" in name else "crop")
    assert source.startswith("ResKD, table")
    assert "momentum 0.9 without Nesterov's form is ours, the paper does not say" in source


@pytest.mark.parametrize("name", PRINTED["setups"])
def test_the_share_of_the_teachers_energy_is_the_printed_one(name: str) -> None:
    assert find_setup(name).own("reskd") == {"stop_share": PRINTED["stop_share"]}


@pytest.mark.parametrize(
    ("depths", "classes", "millions", "mflops"), SIZES, ids=[f"{d}-{c}" for d, c, _, _ in SIZES]
)
def test_the_sizes_of_tables_2_to_6(depths: list[int], classes: int, millions: str, mflops: int) -> None:
    """To every printed digit: one network, or the sum that is deployed.

    FLOPs are multiply-accumulates and two for each output of a batch norm.
    """
    networks = [build(f"resnet{depth}", classes, shortcut="padding") for depth in depths]
    spent = cost(Sum(networks) if len(networks) > 1 else networks[0])
    assert f"{spent.parameters / 1e6:.3f}" == millions
    assert round(spent.flops / 1e6) == mflops


def test_every_printed_size_is_there() -> None:
    assert len(SIZES) == 13


@pytest.mark.parametrize("depth", [110, 20])
def test_networks_with_other_shortcuts_have_not_the_printed_sizes(depth: int) -> None:
    row = next(row for row in PRINTED["cifar_sizes"] if row["depths"] == [depth])
    for classes, millions in zip((10, 100), row["params"], strict=True):
        assert f"{cost(build(f'resnet{depth}', classes)).parameters / 1e6:.3f}" != millions
