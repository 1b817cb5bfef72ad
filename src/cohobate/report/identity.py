"""Whose an exported file is that lies in the folder of an export: of the run as it is now, or not."""

from __future__ import annotations

from ..runs.exported import About
from ..runs.reading import Run


def same_training(run: Run, exported: About, about: About) -> bool:
    """Whether a file is of this training, and not of one before it into the same folder.

    Args:
        run: as it is now.
        exported: the network of the run that is exported now.
        about: what the file says of itself.
    """
    if other_run(exported, about):
        return False
    if about.weights_digest == exported.weights_digest:
        return True
    if (about.weights, about.readout) == (exported.weights, exported.readout):
        return False
    # Of other weights of the run the errors are recorded, to the last digit.
    epoch = run.outcome.get(about.weights) or {}
    splits = (epoch.get(split) or {} for split in about.errors)
    measured = [split.get(about.readout) or {} for split in splits]
    return bool(measured) and all(
        told.items() <= found.items() for told, found in zip(about.errors.values(), measured, strict=True)
    )


def other_run(exported: About, about: About) -> bool:
    """Whether a file names another run, seed or data."""
    keys = ("label", "seed", "data", "data_fingerprint")
    return any(getattr(about, key) != getattr(exported, key) for key in keys)
