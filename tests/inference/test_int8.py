"""An ONNX network in 8-bit integers, on networks small enough to be known."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from cohobate.inference.deployable import Deployable, Normalisation
from cohobate.inference.exporting import captured, onnx_bytes
from cohobate.inference.int8 import before_weights, described, quantised
from cohobate.inference.onnx_network import OnnxNetwork

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.1))
SHAPE = (3, 8, 8)


class Tiny(nn.Module):
    """A convolution with a batch norm, whose channels have very different weights, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)
        for each in (self.conv, self.head):
            each.weight.data = torch.randn(each.weight.shape, generator=generator)
        self.conv.weight.data *= torch.logspace(-3, 0, 8).view(-1, 1, 1, 1)
        self.norm.weight.data = torch.logspace(3, 0, 8)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.conv(x)).relu().mean(dim=(2, 3)))
        return logits


def exported(network: nn.Module, values: Any = "0-255") -> tuple[bytes, Deployable]:
    deployable = Deployable(network, NORMALISATION, values).eval()
    return onnx_bytes(captured(deployable, SHAPE), {"classes": "five"}), deployable


@pytest.fixture(scope="module")
def floats() -> bytes:
    return exported(Tiny())[0]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(256, (120, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def made(floats: bytes, images: Tensor) -> bytes:
    return quantised(floats, images)


def weights(model: onnx.ModelProto, integers: bool) -> list[Any]:
    arrays = [numpy_helper.to_array(each) for each in model.graph.initializer]
    return [each for each in arrays if each.ndim == 4 and (each.dtype == "int8") is integers]


@pytest.mark.parametrize("values", ["0-255", "0-1", "normalised"])
def test_integers_predict_nearly_what_floats_predict(images: Tensor, values: Any) -> None:
    floats, deployable = exported(Tiny(), values)
    shown = NORMALISATION.of_bytes(images, values)
    with torch.no_grad():
        expected = deployable(shown)
    found = OnnxNetwork(quantised(floats, shown))(shown)
    assert (found - expected).abs().max() < 0.03 * expected.std() + 0.05 * expected.abs().max()
    # Not the same: it has been quantised.
    assert not torch.equal(found, expected)


def test_each_channel_has_a_scale_and_seven_bits(made: bytes) -> None:
    model = onnx.load_from_string(made)
    (kernel,) = weights(model, integers=True)
    assert not weights(model, integers=False)
    # Every channel uses its range, although their weights differ a thousandfold: symmetric, 7 bits.
    largest = abs(kernel.astype("int32")).reshape(8, -1).max(axis=1)
    assert largest.min() >= 60
    assert largest.max() <= 64


def test_activations_are_unsigned_and_images_stay_as_they_are(made: bytes, images: Tensor) -> None:
    model = onnx.load_from_string(made)
    zeros = {each.name: each.data_type for each in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert pairs
    assert {zeros[node.input[2]] for node in pairs} == {onnx.TensorProto.UINT8}
    # What normalises is in floats: nothing is quantised before the first convolution's own input.
    first = [node.op_type for node in model.graph.node if node.op_type != "DequantizeLinear"][:5]
    assert first == ["Cast", "Mul", "Add", "QuantizeLinear", "Conv"]
    assert OnnxNetwork(made).shape[1:] == SHAPE


def test_only_what_computes_on_images_is_left_in_floats(floats: bytes) -> None:
    graph = onnx.load_from_string(floats).graph
    kinds = {node.name: node.op_type for node in graph.node}
    assert [kinds[name] for name in before_weights(graph)] == ["Cast", "Mul", "Add"]


def test_ranges_are_averaged_over_batches_of_50(floats: bytes, images: Tensor) -> None:
    """One image of the brightest kind among a hundred of darkest: half of its range, not all of it."""
    dark = torch.zeros(100, *SHAPE, dtype=torch.uint8)
    dark[7] = 255
    model = onnx.load_from_string(quantised(floats, dark))
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    scale = next(each for each in model.graph.initializer if each.name == first.input[1])
    factor, summand = NORMALISATION.factors(255)
    low, high = float(summand.min()), float((255 * factor + summand).max())
    # Over the batches: low, and high in one of the two; in the other the largest is the darkest channel's.
    expected = (high + float(summand.max())) / 2 - low
    assert float(numpy_helper.to_array(scale)) == pytest.approx(expected / 255, rel=1e-5)


def test_it_is_the_same_every_time_and_says_only_what_it_is_told(
    floats: bytes, made: bytes, images: Tensor
) -> None:
    noted = onnx.load_from_string(floats)
    for node in noted.graph.node:
        node.doc_string = "of my/house.py"
        node.metadata_props.add(key="stack", value="my/house.py")
    assert quantised(noted.SerializeToString(), images) == made
    assert OnnxNetwork(made).metadata == {}
    told = described(described(made, {"gone": "x"}), {"classes": "five"})
    assert OnnxNetwork(told).metadata == {"classes": "five"}
    model = onnx.load_from_string(made)
    # Notes of the exporter name files of the machine that wrote them.
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert {each.domain for each in model.opset_import} == {node.domain for node in model.graph.node}
    onnx.checker.check_model(model)


def test_a_network_without_weights_has_nothing_to_quantise(images: Tensor) -> None:
    class Means(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(dim=(2, 3)) * 2

    with pytest.raises(ValueError, match=r"nothing in Means can be quantised.*without --int8"):
        quantised(exported(Means())[0], images, "Means")


def test_what_the_quantiser_cannot_read_is_one_line(images: Tensor) -> None:
    with pytest.raises(ValueError, match="onnxruntime cannot quantise the network: ") as error:
        quantised(b"no ONNX file", images)
    assert "\n" not in str(error.value)
