"""An ONNX network in 8-bit integers, by onnxruntime's static quantiser.

Choices, each measured on validation images of CIFAR-10 (docs/PERFORMANCE.md): activations unsigned, weights
signed, since onnxruntime's kernels for signed activations are slower than floats on x86; a scale for each
channel of the weights; weights in 7 bits, because a processor with AVX2 or AVX-512 and without VNNI adds two
products in 16 bits, which 8 bits overflow without a word. The range of an activation is from the smallest to
the largest value in a batch of 50 images, averaged over the batches: the extremes of all images cost
depthwise networks four points, entropy gives the same as the extremes, and percentiles are no better and keep
every activation in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor

from ..config.extras import require
from ..config.text import first_line
from ..config.words import count
from .quiet import quiet

CALIBRATION_BATCH = 50
"""Images of a batch, whose smallest and largest activations are averaged over the batches."""
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Operators with weights: what is before the first of them normalises images, and stays in floats."""


def choices(batch: int = CALIBRATION_BATCH) -> str:
    """How networks are quantised, in words."""
    return (
        "weights in 7 bits, a scale a channel; activations in 8 bits, from the smallest to the largest value "
        f"in a batch of {count(batch, 'image')}, averaged over the batches"
    )


def quantised(
    model: bytes,
    images: Tensor,
    what: str = "the network",
    batch: int = CALIBRATION_BATCH,
    **how: Any,
) -> bytes:
    """An ONNX network in 8-bit integers, as pairs of QuantizeLinear and DequantizeLinear (QDQ).

    It takes and gives what the network took and gave; its metadata is empty.

    Args:
        model: content of an ONNX file with one input: images.
        images: (N, C, H, W) with the values that it takes, of which the ranges of its activations are taken.
        what: the network, for messages.
        batch: images whose smallest and largest activations are averaged over the batches.
        how: what is to be otherwise than in the text above, as onnxruntime's ``quantize_static`` takes it.

    Raises:
        ImportError: onnx or onnxruntime is missing; the message names the extra.
        ValueError: onnxruntime cannot quantise it, or finds nothing in it to quantise.
    """
    require("export", "int8")
    import onnx
    from onnxruntime import quantization

    with TemporaryDirectory(prefix="cohobate-int8-") as folder, quiet():
        prepared, path = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        try:
            quantization.quant_pre_process(onnx.load_from_string(model), prepared)
            graph = onnx.load(prepared).graph
            usual = {
                "quant_format": quantization.QuantFormat.QDQ,
                "activation_type": quantization.QuantType.QUInt8,
                "weight_type": quantization.QuantType.QInt8,
                "calibrate_method": quantization.CalibrationMethod.MinMax,
                "per_channel": True,
                "reduce_range": True,
                "extra_options": {"CalibMovingAverage": True},
                "nodes_to_exclude": before_weights(graph),
            }
            reader = _reader(graph.input[0].name, images.split(batch))
            quantization.quantize_static(prepared, path, reader, **(usual | how))
        except Exception as error:  # the quantiser raises whatever the operator at hand does
            raise ValueError(f"onnxruntime cannot quantise {what}: {first_line(error)}") from error
        made = onnx.load(path)
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise ValueError(
            f"nothing in {what} can be quantised: it has no convolution and no matrix product; export it "
            "without --int8"
        )
    return _bare(made)


def before_weights(graph: Any) -> list[str]:
    """Names of the nodes of an ONNX graph that compute on its images before any operator with weights."""
    raw, names = {each.name for each in graph.input}, []
    constants = {each.name for each in graph.initializer}
    for node in graph.node:
        inputs = set(node.input) - constants - {""}
        if inputs and inputs <= raw and node.op_type not in WEIGHTED:
            raw |= set(node.output)
            names.append(node.name)
    return names


def described(model: bytes, metadata: Mapping[str, str]) -> bytes:
    """The ONNX file with this metadata, and no other."""
    import onnx

    made = onnx.load_from_string(model)
    onnx.helper.set_model_props(made, dict(metadata))
    return made.SerializeToString()  # type: ignore[no-any-return]


def _reader(name: str, batches: Iterable[Tensor]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """What the quantiser takes its images from."""

        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            return None if batch is None else {name: np.ascontiguousarray(batch.numpy())}

    return Reader()


def _bare(model: Any) -> bytes:
    """Without the notes that exporter and quantiser leave, which nothing reads."""
    del model.metadata_props[:]
    used = {node.domain for node in model.graph.node}
    imported = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imported)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
