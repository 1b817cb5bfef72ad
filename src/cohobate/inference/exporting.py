"""Networks as files that need no training code: ONNX, and the ExportedProgram of torch (.pt2)."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch.export import Dim, ExportedProgram

from ..config.extras import require
from ..config.opsets import OPSET, check_opset
from ..config.text import first_line
from .deployable import Deployable
from .quiet import quiet

INPUT, OUTPUT = "images", "logits"
"""Names of what an ONNX file takes and gives."""
METADATA = "cohobate.json"
"""Name of the metadata in a .pt2 file."""
KEPT = ("val", "tensor_meta")
"""What a graph says of an operation that it needs: the shape and kind of its result."""
LARGEST = 2**31 - 2**24
"""Bytes of weights that an ONNX file can hold: protobuf ends at 2 GiB, and the graph needs a little."""
EXAMPLES = 4
"""Images of the batch with which a network is captured."""


def captured(network: Deployable, shape: Sequence[int]) -> ExportedProgram:
    """The network as a graph, for any number of images.

    Args:
        network: in evaluation mode, on the CPU.
        shape: (C, H, W) of an image.

    Raises:
        ValueError: it cannot be captured, or only for a fixed number of images.
    """
    example = network.example(EXAMPLES, shape)
    shapes = ({0: Dim("batch", min=1)},)
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(network, (example,), dynamic_shapes=shapes)
        except Exception:
            # A network that calls len(x) is bound to that number; read as source code it is not.
            try:
                program = torch.export.export(network, (example,), dynamic_shapes=shapes, strict=True)
            except Exception as error:
                raise ValueError(
                    f"{type(network.network).__name__} cannot be captured by torch.export for any number of "
                    f"images: {_first_sentence(error)}; a branch on the values of the images, or a loop over "
                    "the images of a batch, must be written as operations on the whole batch"
                ) from error
    return _bare(program)


def _bare(program: ExportedProgram) -> ExportedProgram:
    """The graph without where its operations came from: lines of source code, paths on this machine."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, fx.GraphModule) else ():
            node.meta = {key: value for key, value in node.meta.items() if key in KEPT}
    return program


def onnx_bytes(program: ExportedProgram, metadata: Mapping[str, str], opset: int = OPSET) -> bytes:
    """An ONNX file: ``images`` (batch, C, H, W) -> ``logits``, (batch, K) or (batch, K, H, W).

    Args:
        program: of :func:`captured`.
        metadata: of the file.
        opset: version of the operators.

    Raises:
        ImportError: onnx or onnxscript is missing; the message names the extra.
        ValueError: an opset that cannot be written, an operator that ONNX does not have, or more weights
            than the file can hold.
    """
    require("export", "an ONNX file")
    check_opset(opset)
    size = sum(each.numel() * each.element_size() for each in program.state_dict.values())
    if size > LARGEST:
        raise ValueError(
            f"an ONNX file holds up to 2 GiB, the weights are {size / 2**30:.1f} GiB; the formats pt2 and "
            "safetensors have no such limit"
        )
    with quiet():
        try:
            written = torch.onnx.export(
                program,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, torch.onnx.errors.OnnxExporterError) as error:
            raise ValueError(
                f"the network cannot be written as ONNX: {_reason(error)}; the format pt2 can hold it"
            ) from error
    if written is None:
        raise ValueError("torch.onnx.export gave no program")
    model: Any = written.model_proto
    _forget_origins(model)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _forget_origins(message: Any) -> None:
    """Remove what the exporter says of where each part came from."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                _forget_origins(part)


def pt2_bytes(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """A .pt2 file: ``torch.export.load(file).module()(images)`` gives the logits.

    Args:
        program: of :func:`captured`.
        metadata: of the file, read by ``extra_files={"cohobate.json": ""}``.

    Raises:
        ValueError: torch cannot store a part of it.
    """
    buffer = io.BytesIO()
    with quiet():
        try:
            torch.export.save(program, buffer, extra_files={METADATA: json.dumps(dict(metadata))})
        except Exception as error:  # torch has no kind of its own for a part that cannot be stored
            raise ValueError(
                f"the network cannot be written as pt2: {_first_sentence(error)}; try the format onnx"
            ) from error
    return buffer.getvalue()


def _reason(error: BaseException) -> str:
    """What the exporter says at the bottom of its errors: which operator is unknown, for one."""
    while error.__cause__ is not None:
        error = error.__cause__
    unknown = re.search(r"No ONNX function found for <OpOverload\(op='([^']*)'", str(error))
    return f"ONNX has no operator for {unknown[1]}" if unknown else _first_sentence(error)


def _first_sentence(error: BaseException) -> str:
    return first_line(error).partition("! ")[0].partition(". ")[0]
