"""How good a finished run's deployed network is, in every measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..core import as_output
from ..engine import distributed
from ..engine.evaluate import evaluating
from ..engine.measures.classification import evaluate
from ..recipes.catalogue import options
from ..recipes.job import load
from ..runs.folder import read_config
from .feeds import read_data, split_loader


def evaluate_run(
    folder: Path, split: Literal["test", "val"] | None = None, weights: Literal["last", "best"] = "last"
) -> tuple[dict[str, Any], tuple[str, ...], Literal["test", "val"]]:
    """Measure the deployed network of a run on a split of its data, in the run's precision.

    Args:
        folder: of the run.
        split: by default test, or val where the data has no test split.
        weights: of the last epoch, or of the best one on the validation split.

    Returns:
        Measurements as :func:`cohobate.engine.measures.classification.evaluate` gives them, the class
        names, the split.

    Raises:
        ValueError: not a run folder, or the data has no such split.
        RunError: the run has not finished.
    """
    given = read_config(folder / "run.yaml")
    config = options(given.pop("method"), given)
    device = distributed.pick_device(config.device)
    dataset = read_data(config)
    name = "deployed.safetensors" if weights == "last" else "deployed-best.safetensors"
    network = load(folder / name, len(dataset.classes)).to(device)
    if split is None:
        split = "val" if dataset.test is None else "test"
    images = dataset.val if split == "val" else dataset.test() if dataset.test else None
    if images is None:
        raise ValueError(f"{config.data} has no {split} split")
    loader = split_loader(images, dataset, device, config.workers)
    with evaluating(network):
        measured = evaluate(
            lambda x: {"network": as_output(network(x)).logits}, loader, device, config.precision
        )
    return measured["network"], dataset.classes, split
