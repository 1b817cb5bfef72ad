"""A network written in a form, and the file read back and compared with the network."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from ..config.forms import Form
from ..config.opsets import OPSET
from ..engine.checkpoint import State, state_bytes
from ..engine.errors import RunError
from ..inference.agreement import Agreement, agreement, all_of
from ..inference.deployable import Deployable, Normalisation
from ..inference.exporting import captured, onnx_bytes, pt2_bytes
from ..inference.onnx_network import OnnxNetwork
from .export_source import Source

Predict = Callable[[Tensor], Tensor]


class Forms:
    """The forms of one network, captured once.

    Args:
        source: what is exported.
        opset: of an ONNX file; None: :data:`cohobate.config.opsets.OPSET`.
    """

    def __init__(self, source: Source, opset: int | None = None) -> None:
        about = source.about
        self.source, self.opset = source, opset or OPSET
        self.deployable = Deployable(
            source.network, Normalisation(about.mean, about.std), about.values
        ).eval()

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """Of torch.export."""
        return captured(self.deployable, self.source.about.shape)

    def written(self, form: Form) -> bytes:
        """The content of the file.

        Raises:
            ValueError: the network cannot be captured, or not in this form.
            ImportError: a library is missing; the message names the extra.
        """
        return getattr(self, f"_{form}")()  # type: ignore[no-any-return]

    def _onnx(self) -> bytes:
        return onnx_bytes(self.program, self.source.about.to_metadata(), self.opset)

    def _pt2(self) -> bytes:
        return pt2_bytes(self.program, self.source.about.to_metadata())

    def _safetensors(self) -> bytes:
        source = self.source
        facts: dict[str, Any] = source.about.model_dump(mode="json")
        if source.found:
            facts["found"] = dict(source.found)
        # "format" is what the libraries of the Hugging Face hub look for.
        return state_bytes(State(self.source.network.state_dict(), facts), format="pt")

    def checked(self, form: Form, data: bytes, images: Tensor) -> Agreement | None:
        """The file, read back, compared with the network; None for weights, which are equal bit by bit.

        Args:
            form: of the file.
            data: its content.
            images: uint8 (N, C, H, W), to compare the predictions on.

        Raises:
            RunError: they differ by more than rounding.
        """
        if form == "safetensors":
            self._same_weights(load(data))
            return None
        shown = self.deployable.normalisation.of_bytes(images, self.deployable.values)
        file = READERS[form](data)
        # A file may be right for several images at once, and wrong for one.
        for each in (shown[:1], shown):
            found = agreement(all_of(self.deployable, each), all_of(file, each))
            if not found.same:
                raise RunError(
                    f"the {form} file does not predict what the network of {self.source.of.run.folder} "
                    f"predicts: {found}; it was not written"
                )
        return found

    def _same_weights(self, tensors: dict[str, Tensor]) -> None:
        own = self.source.network.state_dict()
        if own.keys() != tensors.keys() or any(not torch.equal(own[key], tensors[key]) for key in own):
            raise RunError(
                "the safetensors file does not hold the weights of the network; it was not written"
            )


def _onnx_network(data: bytes) -> Predict:
    return OnnxNetwork(data)


def _pt2_network(data: bytes) -> Predict:
    # Written a moment ago by this process: a foreign .pt2 file may run code as it is opened.
    module = torch.export.load(io.BytesIO(data)).module()
    return module


READERS: dict[Form, Callable[[bytes], Predict]] = {"onnx": _onnx_network, "pt2": _pt2_network}
"""Form -> the network in the content of a file."""
