"""Networks of timm and torchvision as ONNX and .pt2, alone and from a run to files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

import cohobate
from cohobate.cli import main
from cohobate.core import Classifier
from cohobate.inference.agreement import agreement
from cohobate.inference.deployable import Deployable, Normalisation
from cohobate.inference.exporting import captured, onnx_bytes, pt2_bytes
from cohobate.inference.onnx_network import OnnxNetwork
from cohobate.models.build import build

NETWORKS = (
    "timm:test_resnet",
    "timm:vit_tiny_patch16_224:img_size=32:patch_size=8:depth=2",
    "timm:deit_tiny_distilled_patch16_224:img_size=32:patch_size=8:depth=2",
    "torchvision:resnet18",
)
SHAPE = (3, 32, 32)


@pytest.mark.parametrize("spec", NETWORKS)
def test_other_numbers_of_images_than_the_captured_one(spec: str) -> None:
    torch.manual_seed(0)
    network = Deployable(
        Classifier(build(spec, 7, shape=SHAPE)).eval(), Normalisation((0.5,) * 3, (0.2,) * 3), "0-255"
    ).eval()
    # Logits of a fresh network may be so small that no fault shows.
    with torch.no_grad():
        for parameter in list(network.parameters())[-2:]:
            parameter.normal_()
    program = captured(network, SHAPE)
    pt2 = torch.export.load(io.BytesIO(pt2_bytes(program, {}))).module()
    files = OnnxNetwork(onnx_bytes(program, {})), pt2
    for count in (1, 5):
        images = network.example(count, SHAPE)
        with torch.no_grad():
            logits = network(images)
            assert float(logits.std()) > 0.01
            for file in files:
                assert agreement(logits, file(images)).same


@pytest.mark.parametrize(
    "model",
    [
        "timm:test_resnet",
        "timm:vit_tiny_patch16_224:img_size=8:patch_size=4:depth=2",
        "torchvision:resnet18",
    ],
)
def test_a_run_becomes_files(model: str, tmp_path: Path) -> None:
    options = ["--data", "digits", "--epochs", "1", "--train-images", "150", "--batch-size", "50"]
    options += ["--lr", "0.01", "--device", "cpu", "--quiet", "--out", str(tmp_path / "run")]
    main(["train", "baseline", "--model", model, *options])
    written = cohobate.export(tmp_path / "run", ["onnx", "pt2", "safetensors"])
    for each in written[:2]:
        assert each.agreement is not None
        assert each.agreement.images > 100
    again, own = cohobate.load(written[2].path), cohobate.load(tmp_path / "run")
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(x), own(x))
