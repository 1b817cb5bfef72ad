"""A network in an ONNX file, run by onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config.extras import require
from ..config.text import first_line

KINDS = {"tensor(uint8)": torch.uint8, "tensor(float)": torch.float32}
"""Kind of numbers, as onnxruntime calls it -> that of torch."""


class OnnxNetwork:
    """Images -> logits of an ONNX file, on the CPU.

    The file is read whole, and a file that points to other files is refused: whoever made it could point
    anywhere.

    Args:
        file: its path, or its content.
        name: what the messages call it; by default the path.
        threads: that compute one batch; by default as many as torch uses.

    Attributes:
        metadata: of the file.
        shape: of a batch as the file says it, a name for a size that may vary.
        kind: of the numbers of a batch.
        classes: number of logits, or a name for a number that may vary.

    Raises:
        ImportError: onnx or onnxruntime is missing; the message names the extra.
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file, cut or damaged, points to other files, is of a newer opset than
            onnxruntime knows, or takes or gives something else than images and logits.
    """

    def __init__(self, file: Path | bytes, name: str | None = None, threads: int | None = None) -> None:
        require("export", "an ONNX file")
        self.name = name or (str(file) if isinstance(file, Path) else "the ONNX file")
        data = file if isinstance(file, bytes) else _read(file)
        self._refuse_other_files(data)
        self._session = self._opened(data, threads or torch.get_num_threads())
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if not _one(inputs, (4,), KINDS) or not _one(outputs, (2, 4), ("tensor(float)",)):
            raise ValueError(
                f"{self.name} is no classifier of images: it takes {_listed(inputs)} and gives "
                f"{_listed(outputs)}; one array (batch, channels, height, width) of uint8 or float32 in, and "
                "one (batch, classes), or (batch, classes, height, width), of float32 out, are expected"
            )
        self._input, self.shape = inputs[0].name, tuple(inputs[0].shape)
        self.kind, self.classes = KINDS[inputs[0].type], outputs[0].shape[1]
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def _refuse_other_files(self, data: bytes) -> None:
        import onnx

        try:
            model = onnx.load_from_string(data)
        except Exception as error:  # protobuf's own class of error
            raise ValueError(f"{self.name} is cut, damaged, or no ONNX file ({_reason(error)})") from error
        if any(onnx.external_data_helper.uses_external_data(each) for each in _tensors(model)):
            raise ValueError(
                f"{self.name} keeps weights in other files, which are not read: save it as one file"
            )

    def _opened(self, data: bytes, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what is wrong is in the error, too
        try:
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of error for each thing that may be wrong
            raise ValueError(f"{self.name} cannot be read by onnxruntime: {_reason(error)}") from error

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) with the values that the file takes -> (B, K) or (B, K, H, W), float32.

        Raises:
            ValueError: images of another shape or kind, or the file cannot be computed.
        """
        self._check(images)
        try:
            (logits,) = self._session.run(None, {self._input: np.ascontiguousarray(images.numpy())})
        except Exception as error:
            raise ValueError(f"{self.name} cannot be computed: {_reason(error)}") from error
        return torch.from_numpy(np.asarray(logits))

    def _check(self, images: Tensor) -> None:
        sizes = zip(self.shape, images.shape, strict=False)
        fits = images.dim() == 4 and all(own == given or not isinstance(own, int) for own, given in sizes)
        if not fits or images.dtype != self.kind:
            raise ValueError(
                f"{self.name} takes {self.kind} images {self.shape}, got {images.dtype} {tuple(images.shape)}"
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {path}") from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in an ONNX model, those of subgraphs and functions too."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else [value]:
            if field.message_type.name == "TensorProto":
                yield part
            yield from _tensors(part)


def _one(arrays: list[Any], dimensions: tuple[int, ...], kinds: Any) -> bool:
    return len(arrays) == 1 and len(arrays[0].shape or ()) in dimensions and arrays[0].type in kinds


def _listed(arrays: list[Any]) -> str:
    each = (f"{array.name} {tuple(array.shape or ())} {array.type}" for array in arrays)
    return ", ".join(each) or "nothing"


def _reason(error: BaseException) -> str:
    """Of onnxruntime's message, what follows its code, its name of the file and the line of its source."""
    text = first_line(error)
    reason = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text.rpartition(" : ")[2])
    return reason.strip(" .") or text
