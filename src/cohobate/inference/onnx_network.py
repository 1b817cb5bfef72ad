"""A network in an ONNX file, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config.extras import require


class OnnxNetwork:
    """Images -> logits of an ONNX file, on the CPU.

    Args:
        file: its path, or its content.
        name: what the messages call it; by default the path.
        threads: that compute one batch; by default as many as torch uses.

    Attributes:
        metadata: of the file.
        shape: of a batch as the file says it, a name for a size that may vary.

    Raises:
        ImportError: onnxruntime is missing; the message names the extra.
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file, cut or damaged, of a newer opset than onnxruntime knows, or takes or
            gives more than one array.
    """

    def __init__(self, file: Path | bytes, name: str | None = None, threads: int | None = None) -> None:
        require("export", "an ONNX file")
        import onnxruntime

        if isinstance(file, Path) and not file.is_file():
            raise FileNotFoundError(f"no file {file}")
        self.name = name or (str(file) if isinstance(file, Path) else "the ONNX file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        source = file if isinstance(file, bytes) else str(file)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of error for each thing that may be wrong
            raise ValueError(f"{self.name} cannot be read by onnxruntime: {_reason(error)}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2:
            raise ValueError(
                f"{self.name} is no classifier of images: it takes {_listed(inputs)} and gives "
                f"{_listed(outputs)}; one array (batch, channels, height, width) in, and one "
                "(batch, classes) out, are expected"
            )
        self._input, self.shape = inputs[0].name, tuple(inputs[0].shape)
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) with the values that the file takes -> (B, K), float32."""
        (logits,) = self._session.run(None, {self._input: np.ascontiguousarray(images.numpy())})
        return torch.from_numpy(np.asarray(logits))


def _listed(arrays: list[object]) -> str:
    return ", ".join(f"{each.name} {tuple(each.shape)}" for each in arrays) or "nothing"  # type: ignore[attr-defined]


def _reason(error: BaseException) -> str:
    """Of onnxruntime's message, what follows its code and its name of the file."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.rpartition(" : ")[2] or text
