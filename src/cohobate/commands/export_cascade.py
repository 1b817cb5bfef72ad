"""A cascade as files: its networks, what stops it, and the runner that needs no PyTorch."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..analysis.cost import cost
from ..config.words import count
from ..core import Classifier
from ..engine.checkpoint import write_bytes
from ..engine.errors import RunError
from ..inference import cascade_runner
from ..inference.agreement import ROUNDING, all_of
from ..inference.cascade import Cascade
from ..inference.cascade_runner import FORMAT
from ..inference.deployable import Normalisation
from ..recipes.networks import cascade_of
from ..runs.adaptive import to_record
from ..runs.deployed import BY_PLAN
from ..runs.exported import ExportFolder
from .cascading import NEAR, elsewhere, shares
from .export_files import Export, Made
from .export_forms import Forms
from .export_source import Source


class Run(NamedTuple):
    """How the files of a cascade ran, beside the cascade of the run.

    Attributes:
        images: how many.
        difference: the largest between two logits of the sums at which the images leave.
        shares: of the images that left after each network.
        moved: how many left elsewhere, by rounding: their energy is that close to the threshold.
    """

    images: int
    difference: float
    shares: tuple[float, ...]
    moved: int

    def __str__(self) -> str:
        left = ", ".join(f"{share:.1%}" for share in self.shares)
        moved = f", {self.moved} of them elsewhere by rounding" if self.moved else ""
        return (
            f"{count(self.images, 'image')}, largest difference of a logit {self.difference:.1e}, share that "
            f"leaves after each network: {left}{moved}"
        )


def cascade(export: Export) -> dict[str, Made]:
    """The networks of a deployed sum one by one, cascade.json, and the runner, which checks them."""
    asked, source = export.asked, export.source
    if not asked.command.adaptive:
        return {}
    own = cascade_of(source.of.deployed, threshold=asked.command.threshold)
    stored = source.of.deployed.threshold
    given = "given by --threshold"
    rule = given if stored is None or asked.command.threshold is not None else stored.rule or BY_PLAN
    files = cascade_files(source, own, rule, asked.command.opset)
    ran = checked(files, source, own, export.seen.images)
    where = export.seen.where
    said = {
        export.folder.runner.name: "runs the networks; needs NumPy and onnxruntime",
        export.folder.cascade.name: f"threshold {to_record(own.threshold)} ({rule}); {ran}; on {where}",
    }
    return {name: Made(data, said.get(name, "a network of the cascade")) for name, data in files.items()}


def cascade_files(source: Source, cascade: Cascade, rule: str, opset: int | None) -> dict[str, bytes]:
    """The files of a cascade: name -> content; cascade.json is the last.

    Args:
        source: the deployed network of the run.
        cascade: of it.
        rule: by which its threshold was chosen, in words.
        opset: of the ONNX files; None: the usual one.

    Raises:
        ImportError: a library is missing; the message names the extra.
        ValueError: a network that cannot be exported, or an opset that cannot be written.
    """
    names = ExportFolder(Path())
    files = {
        names.stage(i).name: Forms(stage, opset).written("onnx")
        for i, stage in enumerate(stages(source, cascade))
    }
    record = {
        "format": FORMAT,
        "stages": [
            {"file": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        ],
        "threshold": to_record(cascade.threshold),
        "threshold_rule": rule,
        "energy": cascade.energy,
        **source.about.model_dump(mode="json"),
    }
    files[names.runner.name] = Path(cascade_runner.__file__).read_bytes()
    files[names.cascade.name] = (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()
    return files


def stages(source: Source, cascade: Cascade) -> list[Source]:
    """The networks of a cascade, each to be exported by itself."""
    about, found = source.about, []
    for i, (network, model) in enumerate(zip(cascade.networks, about.members, strict=True)):
        alone = Classifier(network).eval()
        spent = cost(alone, about.shape)
        changed = {
            "model": model,
            "members": (),
            "readout": f"network {i + 1} of {len(cascade.networks)}, whose logits are summed",
            "errors": {},  # those of the run are of the sum
            "parameters": spent.parameters,
            "macs": spent.macs,
        }
        found.append(Source(alone, about.model_copy(update=changed), source.of))
    return found


def checked(files: dict[str, bytes], source: Source, cascade: Cascade, images: Tensor) -> Run:
    """Run the files by the runner itself, all networks and then as the threshold says, and compare.

    Args:
        files: of :func:`cascade_files`.
        source: the deployed network of the run.
        cascade: of it, whose networks the files are.
        images: uint8 (N, C, H, W).

    Raises:
        RunError: they predict something else, or there is no room to try them.
    """
    about = source.about
    normalisation = Normalisation(about.mean, about.std)
    shown = normalisation.of_bytes(images, about.values)
    sums = _sums(cascade, normalisation.of_bytes(images, "normalised"))
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            write_bytes(Path(folder, name), data)
        runner = cascade_runner.Cascade(folder, torch.get_num_threads())
    run, batches = str(source.of.run.folder), [batch.numpy() for batch in shown.split(100)]
    prefixes = torch.from_numpy(np.concatenate([runner.prefixes(batch) for batch in batches], axis=1))
    _near(prefixes, sums, sums, run)
    found = [runner.predict(batch) for batch in batches]
    logits, exits = (torch.from_numpy(np.concatenate(each)) for each in zip(*found, strict=True))
    return _compared(logits, exits, sums, cascade, run)


def _sums(cascade: Cascade, images: Tensor) -> Tensor:
    """The logits of S_0, S_1 ... of normalised images, (n + 1, N, K)."""
    each = [all_of(Classifier(network).eval(), images) for network in cascade.networks]
    return torch.stack(each).cumsum(dim=0)


def _compared(logits: Tensor, exits: Tensor, sums: Tensor, cascade: Cascade, run: str) -> Run:
    difference = _near(logits, sums[exits, torch.arange(len(exits))], sums, run)
    wrong, moved = elsewhere(cascade, exits, sums, NEAR["fp32"])
    if wrong.any():
        raise RunError(
            f"{int(wrong.sum())} of {count(len(exits), 'image')} leave the exported cascade after another "
            f"network than that of {run}, by more than rounding; nothing was written"
        )
    return Run(len(exits), difference, shares(exits, len(cascade.networks)), moved)


def _near(logits: Tensor, expected: Tensor, sums: Tensor, run: str) -> float:
    """The largest difference; a RunError if it is more than rounding."""
    difference = float((logits.double() - expected.double()).abs().nan_to_num(nan=torch.inf).max())
    if difference > ROUNDING * max(1.0, float(sums.abs().max())):
        raise RunError(
            f"the exported cascade does not predict what that of {run} predicts: the largest difference of a "
            f"logit is {difference:.1e}; nothing was written"
        )
    return difference
