"""``cohobate evaluate``: how good a finished run's deployed network is, in every measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import tyro

from ..config.files import read_config
from ..config.words import count
from ..engine.errors import RunError
from ..runs.layout import RunFolder
from ..runs.reading import made_from_python, require_finished
from .console import show

Split = Literal["test", "val"]
Weights = Literal["last", "best"]


def evaluate_run(
    path: Path, split: Split | None = None, weights: Weights = "last"
) -> tuple[dict[str, Any], tuple[str, ...], Split]:
    """Measure the deployed network of a run on a split of its data, in the run's precision.

    Args:
        path: the run's folder.
        split: by default test, or val where the data has no test split.
        weights: of the last epoch, or of the best one on the validation split.

    Returns:
        Measurements as the engine's measures give them, the class names, the split.

    Raises:
        FileNotFoundError: not a run folder.
        ValueError: the data has no such split.
        RunError: the run has not finished, or was made from Python.
    """
    from ..core import as_output
    from ..engine.evaluate import evaluating
    from ..engine.finite import broken_measures
    from ..engine.measures.classification import CLASSIFICATION
    from ..recipes.networks import load
    from ..recipes.options import recorded_options
    from .feeds import split_loader, without_check
    from .prepare import prepare

    require_finished(path)
    folder = RunFolder(path)
    recorded = read_config(folder.config)
    method = str(recorded.pop("method"))
    if made_from_python(method):
        raise RunError(
            f"{path} was trained from Python (cohobate.fit with {method}), which cannot be built again from "
            f"its name: build the network, then cohobate.load_weights(network, '{folder.deployed}')"
        )
    prepared = prepare(method, without_check(recorded_options(method, recorded)))
    dataset, config, device = prepared.dataset, prepared.config, prepared.device
    file = folder.deployed if weights == "last" else folder.deployed_best
    network = load(file, len(dataset.classes)).to(device)
    if split is None:
        split = "val" if dataset.test is None else "test"
    images = dataset.val if split == "val" else dataset.test() if dataset.test else None
    if images is None:
        raise ValueError(f"{config.data} has no {split} split")
    loader = split_loader(images, dataset, device, config.workers)
    with evaluating(network):
        measured = CLASSIFICATION.evaluate(
            lambda x: {"network": as_output(network(x)).logits}, loader, device, config.precision
        )
    if broken := next(broken_measures(measured), None):
        raise RunError(
            f"the measure {broken[1]!r} of {file} on the {split} split is {broken[2]}: its logits are not "
            "finite; train the run again with a lower lr, or with clip"
        )
    return measured["network"], dataset.classes, split


def main(arguments: list[str]) -> None:
    """Measure the finished run RUN: top-1, top-5, NLL, calibration, each class."""

    def evaluate(
        run: tyro.conf.Positional[Path], split: Split | None = None, weights: Weights = "last"
    ) -> None:
        """Measure a finished run's deployed network.

        Args:
            run: Folder of the run.
            split: Split to measure on; by default test, or val if the data has no test split.
            weights: Weights of the last epoch, or of the epoch with the best validation error.
        """
        from ..report.tables.terminal import measures_table
        from ..runs.reading import read_run

        measured, classes, which = evaluate_run(run, split, weights)
        title = f"{run}, {which} split, {weights} weights, {count(measured['images'], 'image')}"
        show(measures_table(title, measured, classes, read_run(run).headline))

    tyro.cli(evaluate, args=arguments, prog="cohobate evaluate")
