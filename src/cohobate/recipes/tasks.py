"""Whether a network predicts what the data's labels are for: a class for an image, or for every pixel."""

from __future__ import annotations

from torch import Tensor

from ..core import Task
from ..models.registry import dense_parts, is_known, parse

PREDICTS = {"classification": "one class an image", "segmentation": "a class for every pixel"}
LABELS = {"classification": "one label an image", "segmentation": "masks, a label for every pixel"}


def task_of(logits: Tensor, spec: str) -> Task:
    """What logits, (B, K) or (B, K, H, W), are for.

    Raises:
        ValueError: they have another number of dimensions.
    """
    if logits.dim() not in (2, 4):
        raise ValueError(
            f"{spec} returns logits of shape {tuple(logits.shape)}; they must be (B, K) for images with one "
            "label each, or (B, K, H, W) for masks"
        )
    return "classification" if logits.dim() == 2 else "segmentation"


def require_task(who: str, theirs: Task, ours: Task, remedy: str = "") -> None:
    """Check that a network is for the task of the data.

    Args:
        who: the network, for the message.
        theirs: its task.
        ours: that of the data.
        remedy: what to do otherwise, for the message.

    Raises:
        ValueError: it is for the other one.
    """
    if theirs != ours:
        raise ValueError(f"{who} predicts {PREDICTS[theirs]}, and this data has {LABELS[ours]}; {remedy}")


def other_network(spec: str, ours: Task) -> str:
    """What to take instead of a network by name that is for the other task, in words."""
    name, options = parse(spec)
    if ours == "segmentation":
        if is_known(name):
            return f"take one with a dense head: dense:{spec}"
        return f"give it a dense head: dense:{spec}, or let it return logits of shape (B, K, H, W)"
    if (parts := dense_parts(name, options)) is not None:
        return f"take its backbone alone: {parts[0]}"
    return "take a network for classification" if is_known(name) else "let it return logits of shape (B, K)"
