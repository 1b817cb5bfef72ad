"""``cohobate evaluate RUN --adaptive``: sample-adaptive inference with the sum that a run deployed.

ResKD (Li et al., 2021), section III-C. The threshold is chosen on D_v, images of the run's training or
validation split; then S_0, every prefix of the sum, the cascade and the teacher are measured beside one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..analysis.cost import cost
from ..config.words import count
from ..core import Loader, Sum
from ..data.dataset import Dataset, Split
from ..data.loaders import eval_loader
from ..engine.errors import RunError
from ..engine.evaluate import autocast, evaluating, predictions
from ..inference.cascade import Cascade
from ..inference.thresholds import Point, curve, exits_at, point
from ..recipes.energy import SHARE, energy_images
from ..recipes.networks import rebuilt, require_sum
from ..report.files import run_files
from ..runs.adaptive import Adaptive, ChosenOn, Member, Row, Timing, TradeOff, write_adaptive
from ..runs.deployed import BY_PLAN, StoredThreshold, store_threshold
from ..runs.folder import write_files
from ..runs.reading import read_run
from .choice import Chosen, Reading, Wish, check_choice, choose
from .feeds import split_loader
from .kept_teacher import kept_teacher
from .subject import On, Opened, Part, Shown, Weights, opened, own_images, shown
from .timing import times

TIMED, TIMED_BATCH = (64, 512), 128
"""Images of which the time is measured, at least and at most, and of a batch."""
TIMED_MACS = 1e12
"""Multiply-accumulates that the timing may take in all, where it has more than the least number of images."""
NEAR = {"fp32": 1e-4, "bf16": 0.05}
"""Distance of an energy from the threshold, and share of the largest logit, that rounding may bridge."""


class Seen(NamedTuple):
    """The predictions of a sum on images.

    Attributes:
        logits: (n + 1, N, K), of S_0, S_1 ... S_n.
        y: (N,), the labels.
    """

    logits: Tensor
    y: Tensor


def evaluate_adaptive(
    path: Path,
    split: Part | None = None,
    weights: Weights = "last",
    on: On | None = None,
    wish: Wish | None = None,
    energy: Reading | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Adaptive:
    """Choose a threshold, store it with the deployed network, and measure the cascade beside other networks.

    ``adaptive.json`` and the page of the run are written.

    Args:
        path, split, weights, on: as in :func:`cohobate.commands.evaluate.evaluate_run`.
        wish: what the threshold shall be, or do.
        energy: what is compared with it; by default that of the stored threshold, else the energy of the sum.
        say: prints a line: notes, and what was stored.

    Raises:
        FileNotFoundError: there is no such folder, or no such data.
        ValueError: the deployed network is no sum, there are several wishes, one that no threshold meets, or one
            that needs images of the run which are not there; or as ``evaluate_run``.
        RunError: the run has not finished, was made from Python, or its network diverged.
    """
    wish, on = wish or Wish(), on or On()
    wish.check()
    of = opened(path, weights)
    require_sum(of.deployed, "leave out --adaptive")
    stored = of.deployed.threshold
    seen = shown(of, split, on, say)
    dataset = seen.dataset if seen.own else own_images(of, say)
    check_choice(wish, energy, stored, images=dataset is not None, where=of.config.data)
    network = rebuilt(of.deployed).to(seen.device)
    if not isinstance(network, Sum):
        raise TypeError(f"{of.deployed.path} has several members and is no Sum but {type(network).__name__}")
    with evaluating(network):
        chosen_on, on_dv = _on_dv(network, of, dataset, seen.device)
        macs = [cost(member, of.deployed.shape).macs for member in network.networks]
        chosen = choose(wish, energy, stored, on_dv, macs)
        adaptive = _measured(of, seen, network, macs, chosen, chosen_on, on_dv, weights, say)
    if chosen.anew:
        anew = StoredThreshold(chosen.threshold, chosen.energy, adaptive.rule)
        store_threshold(of.deployed, anew)
        before = "nothing" if stored is None else stored
        say(f"stored with the network in {of.deployed.path}: threshold {anew}; before: {before}")
    write_adaptive(path, adaptive)
    write_files(path, run_files(read_run(path)))
    return adaptive


# ---------------------------------------------------------------- predictions


def _on_dv(
    network: Sum, of: Opened, dataset: Dataset | None, device: torch.device
) -> tuple[ChosenOn | None, Seen | None]:
    """D_v of the run, as it recorded it, and what the sum predicts there; None without its images."""
    if dataset is None:
        return None, None
    config = of.run.config
    split, share = config.get("energy_split", "train"), config.get("energy_share", SHARE)
    images = energy_images(dataset, split, share, of.config.seed)
    own_order = match_classes(of.deployed.classes, dataset.classes, str(of.deployed.path)).order
    seen = _predicted(network, images, dataset, own_order, of, device)
    return ChosenOn(split=split, images=len(images), trained_on=split == "train"), seen


def _predicted(
    network: Sum,
    images: Split,
    dataset: Dataset,
    order: tuple[int, ...] | None,
    of: Opened,
    device: torch.device,
) -> Seen:
    """Logits of every prefix, in the order of the data's classes."""

    def prefixes(x: Tensor) -> dict[str, Tensor]:
        return {str(i): logits for i, logits in enumerate(network.prefixes(x))}

    loader = split_loader(images, dataset, device, of.config.workers)
    labels, found = [], []
    for y, by_stage in predictions(prefixes, loader, device, of.config.precision):
        labels.append(y.cpu())
        found.append(torch.stack([_ordered(logits, order) for logits in by_stage.values()]).cpu())
    logits = torch.cat(found, dim=1)
    if not logits.isfinite().all():
        raise RunError(
            f"the logits of {of.deployed.path} are not finite; train the run again with a lower lr, or with clip"
        )
    return Seen(logits, torch.cat(labels))


def _ordered(logits: Tensor, order: tuple[int, ...] | None) -> Tensor:
    return logits if order is None else logits[:, list(order)]


def _left(
    cascade: Cascade, seen: Shown, of: Opened, predicted: Seen
) -> tuple[float, tuple[float, ...], int]:
    """Accuracy and exits of the cascade itself, batch by batch, and how many images rounding moved.

    Raises:
        RunError: it differs by more than rounding from what the logits of the prefixes say.
    """
    loader = split_loader(seen.images, seen.dataset, seen.device, of.config.workers)
    logits, exits = [], []
    for batch in loader.epoch(0):
        with autocast(seen.device, of.config.precision):
            found = cascade.exits(batch.x)
        logits.append(_ordered(found.logits, seen.order).cpu())
        exits.append(found.exits.cpu())
    left, answers = torch.cat(exits), torch.cat(logits)
    moved = _moved(predicted, answers, left, cascade, NEAR[of.config.precision])
    shares = torch.bincount(left, minlength=len(cascade.networks)) / len(left)
    return _accuracy(answers, predicted.y), tuple(shares.double().tolist()), moved


def _moved(predicted: Seen, answers: Tensor, left: Tensor, cascade: Cascade, near: float) -> int:
    """How many images leave the cascade elsewhere than their logits in the full sum say, by rounding."""
    reading: Reading = "added" if cascade.energy == "added" else "sum"
    there = exits_at(predicted.logits, cascade.threshold, energy=reading)
    low, high = (
        exits_at(predicted.logits, min(max(cascade.threshold + step, 0), 1), energy=reading)
        if cascade.threshold <= 1
        else there
        for step in (-near, near)
    )
    expected = predicted.logits.gather(0, left.expand(1, -1)[..., None].expand(1, -1, answers.shape[1]))[0]
    wrong = ((left < low) | (left > high)).sum() + (
        (answers - expected).abs().amax() > near * max(1.0, float(expected.abs().amax()))
    )
    if wrong:
        raise RunError(
            f"the cascade of {len(cascade.networks)} networks predicts otherwise than their summed logits do, by "
            f"more than rounding, of {int(wrong)} images or more: a network of it depends on the other images of "
            "its batch; evaluate the run without --adaptive"
        )
    return int((left != there).sum())


def _accuracy(logits: Tensor, y: Tensor) -> float:
    """Percent."""
    return 100 * int((logits.argmax(dim=1) == y).sum()) / len(y)
