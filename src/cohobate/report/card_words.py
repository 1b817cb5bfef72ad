"""Words of a model card on files and pictures; and how well each class is found."""

from __future__ import annotations

from ..runs.exported import About
from ..runs.reading import Run
from .tables.text import NOTHING

TAKES = {
    "0-255": "bytes, uint8, 0 to 255",
    "0-1": "float32, 0 to 1",
    "normalised": "float32, normalised",
}
IS = {
    ".onnx": "the network, for onnxruntime and other readers of ONNX",
    ".pt2": "the network, for torch.export.load",
    ".safetensors": "weights alone",
}
INT8 = "the network in 8-bit integers, for onnxruntime"
STAGE = "one network of the cascade, whose logits are added up; alone it is not what was measured"


def class_rows(run: Run, about: About) -> list[dict[str, str]]:
    """A row a class: its intersection over union in percent on each split; none where it was not measured.

    Args:
        run: reported by the read-out that is exported.
        about: of the network, which says the weights and the names of the classes.
    """
    epoch = run.outcome[about.weights]
    found = {}
    for split in ("val", "test"):
        if epoch and epoch.get(split) and run.readout in epoch[split]:
            found[split] = epoch[split][run.readout].get("class_iou")
    known = {f"IoU, {split}, %": values for split, values in found.items() if values is not None}
    return [
        {"class": name, **{title: _percent(values[k]) for title, values in known.items()}}
        for k, name in enumerate(about.classes)
        if known
    ]


def _percent(value: float | None) -> str:
    """A class that occurs in no mask and no prediction has none."""
    return NOTHING if value is None else f"{value:.2f}"
