"""An ONNX file from anywhere: a network, or one line that says why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cohobate.inference.onnx_network import OnnxNetwork

Sizes = Sequence[int | str]


def model(
    inputs: Sequence[tuple[Sizes, int]] = ((("batch", 3, 2, 2), TensorProto.FLOAT),),
    output: Sizes = ("batch", 12),
    opset: int = 18,
    operation: str = "Flatten",
) -> onnx.ModelProto:
    """Flattens its first input."""
    taken = [helper.make_tensor_value_info(f"in_{i}", kind, shape) for i, (shape, kind) in enumerate(inputs)]
    given = [helper.make_tensor_value_info("out", taken[0].type.tensor_type.elem_type, output)]
    node = helper.make_node(operation, ["in_0"], ["out"])
    graph = helper.make_graph([node], "graph", taken, given)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 10
    helper.set_model_props(made, {"classes": "é"})
    return made


def content(made: onnx.ModelProto) -> bytes:
    return made.SerializeToString()


def test_a_file_of_another_exporter_is_a_network(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content(model()))
    network = OnnxNetwork(path, threads=1)
    assert network.shape == ("batch", 3, 2, 2)
    assert network.classes == 12
    assert network.kind == torch.float32
    assert network.metadata == {"classes": "é"}
    images = torch.randn(2, 2, 2, 3).permute(0, 3, 1, 2)
    assert torch.equal(network(images), images.flatten(1))


def test_classes_of_pixels_are_logits_too() -> None:
    network = OnnxNetwork(content(model(output=("batch", 3, 2, 2), operation="Identity")))
    assert network.classes == 3
    images = torch.randn(2, 3, 2, 2)
    assert torch.equal(network(images), images)


def test_images_of_another_shape_or_kind_are_refused() -> None:
    network = OnnxNetwork(content(model()), "some.onnx")
    for images, said in (
        (torch.zeros(1, 3, 2, 3), r"got torch.float32 \(1, 3, 2, 3\)"),
        (torch.zeros(3, 2, 2), r"got torch.float32 \(3, 2, 2\)"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), r"got torch.uint8 \(1, 3, 2, 2\)"),
    ):
        with pytest.raises(ValueError, match=rf"^some.onnx takes torch.float32 images .* {said}$"):
            network(images)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_is_refused_in_one_line(share: float, tmp_path: Path) -> None:
    made = model()
    weights = numpy_helper.from_array(np.zeros((3, 2000), np.float32), "weights")
    made.graph.initializer.append(weights)
    whole, path = content(made), tmp_path / "cut.onnx"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"cut\.onnx .*") as error:
        OnnxNetwork(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(8))
def test_noise_and_changed_bytes_never_end_in_anything_else(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    noise = generator.integers(256, size=300, dtype=np.uint8).tobytes()
    with pytest.raises(ValueError, match=r"^the ONNX file .*"):
        OnnxNetwork(noise)
    changed = np.frombuffer(content(model()), np.uint8).copy()
    changed[generator.integers(len(changed), size=6)] = generator.integers(256, size=6)
    try:
        OnnxNetwork(changed.tobytes())(torch.zeros(1, 3, 2, 2))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017


FLOAT, BYTES, TEXT = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
IMAGE = ("batch", 3, 2, 2)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (model([(IMAGE, FLOAT), (("n", 2), FLOAT)]), r"it takes in_0 .*, in_1 \('n', 2\) tensor\(float\)"),
        (model([((1, 12), FLOAT)]), r"it takes in_0 \(1, 12\) tensor\(float\)"),
        (model([(IMAGE, TEXT)]), r"tensor\(int64\)"),
        (model([(IMAGE, BYTES)]), r"gives out \('batch', 12\) tensor\(uint8\)"),
    ],
)
def test_a_file_of_another_kind_is_refused(made: onnx.ModelProto, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^the ONNX file is no classifier of images: .*{said}"):
        OnnxNetwork(content(made))


def test_a_sequence_is_no_logits() -> None:
    made = model(operation="SequenceConstruct")
    given = helper.make_tensor_sequence_value_info("out", FLOAT, None)
    made.graph.output[0].CopyFrom(given)
    with pytest.raises(ValueError, match=r"is no classifier of images: .* gives out \(\) seq"):
        OnnxNetwork(content(made))


def test_an_opset_that_is_too_new_and_an_unknown_operation_are_named() -> None:
    with pytest.raises(ValueError, match=r"^the ONNX file cannot be read by onnxruntime: [^/]*Opset 99 "):
        OnnxNetwork(content(model(opset=99)))
    with pytest.raises(ValueError, match=r"^the ONNX file cannot be read by onnxruntime: .*Nonsense"):
        OnnxNetwork(content(model(operation="Nonsense")))


def with_other_file(location: str, *, nested: bool = False) -> bytes:
    """Adds weights that lie in another file."""
    made = model(output=("batch", 12))
    weights = numpy_helper.from_array(np.zeros(12, np.float32), "weights")
    onnx.external_data_helper.set_external_data(weights, location)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    made.graph.node[0].output[0] = "flat"
    if nested:
        made.graph.node.append(helper.make_node("Constant", [], ["weights"], value=weights))
    else:
        made.graph.initializer.append(weights)
    made.graph.node.append(helper.make_node("Add", ["flat", "weights"], ["out"]))
    return content(made)


@pytest.mark.parametrize("location", ["weights.bin", "../secret", "/etc/hostname"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_file_that_points_to_other_files_is_refused(
    location: str, nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for file in (tmp_path / "secret", tmp_path / "in" / "weights.bin"):
        file.write_bytes(np.ones(12, np.float32).tobytes())
    monkeypatch.chdir(tmp_path / "in")
    path = tmp_path / "in" / "model.onnx"
    path.write_bytes(with_other_file(location, nested=nested))
    for given in (path, path.read_bytes()):
        with pytest.raises(ValueError, match=r"keeps weights in other files, which are not read"):
            OnnxNetwork(given)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^no file .*none\.onnx$"):
        OnnxNetwork(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match=rf"^cannot read {tmp_path}: Is a directory$"):
        OnnxNetwork(tmp_path)


def test_nothing_is_printed_of_a_damaged_file(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="onnxruntime"):
        OnnxNetwork(content(model(opset=99)))
    assert capfd.readouterr() == ("", "")


def test_the_number_of_threads_changes_no_logit() -> None:
    images, data = torch.randn(4, 3, 2, 2), content(model())
    assert torch.equal(OnnxNetwork(data, threads=2)(images), OnnxNetwork(data)(images))
